"""retort.solve against closed forms, and on models as people have them."""

import threading
import traceback
import unittest

import exact
import torch

import retort


def solved(solver, process="ve", steps=40, **more):
    curve = retort.process(process)
    schedule = more.pop("schedule", "karras" if process == "ve" else "uniform")
    grid = retort.times(schedule, process, steps=steps)
    x = exact.noise(curve, grid[0])
    out = retort.solve(exact.denoised(curve), x, solver=solver, schedule=grid, process=process, prediction="sample", **more)
    return out, exact.end_of(curve, x, grid[0], grid[-1])


class Solvers(unittest.TestCase):
    def test_every_deterministic_solver_lands_where_the_flow_ends(self):
        for name in retort.plugins("solver"):
            if name == "python" or self._draws(name):
                continue
            with self.subTest(solver=name):
                out, end = solved(name)
                self.assertLess(float((out - end).abs().max()), 0.25 * exact.std)

    @staticmethod
    def _draws(name):
        first, _ = solved(name, seed=0)
        second, _ = solved(name, seed=1)
        return not torch.equal(first, second)

    def test_stochastic_solvers_draw_from_the_data(self):
        for name in retort.plugins("solver"):
            if name == "python" or not self._draws(name):
                continue
            with self.subTest(solver=name):
                curve = retort.process("ve")
                grid = retort.times("karras", "ve", steps=60)
                x = exact.noise(curve, grid[0], n=4000)
                run = lambda: retort.solve(  # noqa: E731
                    exact.denoised(curve), x, solver=name, schedule=grid, prediction="sample", seed=3
                )
                out = run()
                self.assertAlmostEqual(float(out.std()) / exact.std, 1, delta=0.15)
                self.assertTrue(torch.equal(out, run()))

    def test_the_order_shows(self):
        for name, order in [("euler", 1), ("heun", 2)]:
            errors = []
            for steps in (20, 40):
                out, end = solved(name, "rectified_flow", steps)
                errors.append(float((out - end).square().mean().sqrt()))
            self.assertGreater(errors[0] / errors[1], 2 ** (order - 0.3))

    def test_processes_and_predictions_say_the_same(self):
        for process in ("ve", "vp_linear", "rectified_flow", "trigonometric"):
            curve = retort.process(process)
            # below alpha = 0, where a noise prediction says nothing of the data
            grid = 0.98 * retort.times("karras" if process == "ve" else "uniform", process, steps=12)
            x = exact.noise(curve, grid[0])
            clean = exact.denoised(curve)

            def epsilon(x, t, clean=clean, curve=curve):
                t = t.double()
                return (x - retort.rows(curve.alpha(t), x) * clean(x, t)) / retort.rows(curve.sigma(t), x)

            def flow(x, t, clean=clean, curve=curve, epsilon=epsilon):
                t64 = t.double()
                return retort.rows(curve.d_alpha(t64), x) * clean(x, t) + retort.rows(curve.d_sigma(t64), x) * epsilon(x, t)

            def v(x, t, clean=clean, curve=curve, epsilon=epsilon):
                t64 = t.double()
                return retort.rows(curve.alpha(t64), x) * epsilon(x, t) - retort.rows(curve.sigma(t64), x) * clean(x, t)

            ends = {
                word: retort.solve(fn, x, solver="dpmpp_2m", schedule=grid, process=process, prediction=word)
                for word, fn in [("sample", clean), ("epsilon", epsilon), ("flow", flow), ("v_prediction", v)]
            }
            for word, end in ends.items():
                with self.subTest(process=process, prediction=word):
                    self.assertLess(float((end - ends["sample"]).abs().max()), 1e-6)

    def test_what_the_model_is_given(self):
        seen = {}
        table = {"type": "betas", "trained_betas": torch.linspace(1e-4, 0.02, 1000).tolist()}
        kinds = ["t", "step", "fraction", "reversed", "sigma", "log_sigma", "c_noise", "log_snr"]
        for kind in kinds:

            def fn(x, t, kind=kind):
                self.assertEqual(t.dtype, x.dtype)
                self.assertEqual(t.shape, x.shape[:1])
                seen.setdefault(kind, t[0].item())
                return torch.zeros_like(x)

            retort.solve(fn, torch.ones(2, 3), solver="euler", schedule=[700.0, 1.0], process=table, prediction="epsilon", time=kind)
        curve = retort.process(table)
        t = torch.tensor([700.0], dtype=torch.float64)
        sigma = curve.noise_level(t).item()
        wanted = [700, 699, 0.7, 0.3, sigma, torch.tensor(sigma).log(), torch.tensor(sigma).log() / 4, -2 * torch.tensor(sigma).log()]
        for kind, value in zip(kinds, wanted):
            self.assertAlmostEqual(seen[kind], float(value), delta=1e-4 * max(1, abs(float(value))), msg=kind)

    def test_guidance_joins_both_answers(self):
        def fn(x, t, labels):
            return torch.where((labels == 3).view(-1, 1), 0.2, labels.view(-1, 1).to(x.dtype)).expand_as(x)

        labels = torch.tensor([0, 2])
        x = torch.ones(2, 3, dtype=torch.float64)
        out = retort.solve(
            fn, x, solver="euler", schedule=[1.0, 0.5], process="rectified_flow", prediction="flow", guidance=4.0, classes=3,
            condition={"labels": labels},
        )  # fmt: skip
        velocity = 0.2 + 4 * (labels.double() - 0.2)
        self.assertLess(float((out - (x - 0.5 * velocity.view(-1, 1))).abs().max()), 1e-12)

    def test_modules_with_a_sample_or_a_tuple(self):
        class Out:
            def __init__(self, sample):
                self.sample = sample

        x = torch.ones(2, 3)
        keys = dict(solver="euler", schedule=[1.0, 0.0], process="rectified_flow", prediction="flow")
        plain = retort.solve(lambda x, t: x, x, **keys)
        self.assertTrue(torch.equal(plain, retort.solve(lambda x, t: (x, 1), x, **keys)))
        self.assertTrue(torch.equal(plain, retort.solve(lambda x, t: Out(x), x, **keys)))
        linear = torch.nn.Linear(3, 3)

        class Net(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.linear = linear

            def forward(self, x, t):
                return self.linear(x)

        net = Net()
        out = retort.solve(net, x, **keys)
        self.assertFalse(out.requires_grad)
        self.assertLess(float((out - (x - linear(x))).abs().max().detach()), 1e-6)

    def test_full_callback_and_start(self):
        curve = retort.process("rectified_flow")
        x = exact.noise(curve, 1.0)
        told, calls, clean = [], [], exact.denoised(curve)

        def model(x, t):
            calls.append(len(x))
            return clean(x, t)

        out = retort.solve(
            model, x, solver="heun", schedule="uniform", steps=5, process="rectified_flow", prediction="sample",
            full=True, callback=lambda time, index, state: told.append((time, len(index), state)),
        )  # fmt: skip
        self.assertEqual(out.states.shape, (6, *x.shape))
        self.assertTrue(torch.equal(out.states[0], x) and torch.equal(out.states[-1], out.x))
        self.assertEqual([t for t, _, _ in told], out.times[1:].tolist())
        self.assertEqual(out.evaluations, sum(calls))
        start = torch.full((64,), out.times[2].item(), dtype=torch.float64)
        rest = retort.solve(
            exact.denoised(curve), out.states[2], solver="heun", schedule=out.times, process="rectified_flow",
            prediction="sample", start=start,
        )  # fmt: skip
        self.assertLess(float((rest - out.x).abs().max()), 1e-12)

    def test_solver_and_schedule_of_ones_own(self):
        class Mine:
            order = 1

            def step(self, step, x):
                data, noise = step.ode.predict(x, step.t)
                return retort.rows(step.end.alpha, x) * data + retort.rows(step.end.sigma, x) * noise

        class Even:
            def times(self, process, progress):
                return torch.linspace(process.t_max, 0, 9, dtype=torch.float64)

        mine, _ = solved(Mine(), "rectified_flow", schedule=Even())
        theirs, _ = solved("ddim", "rectified_flow", schedule=Even())
        self.assertLess(float((mine - theirs).abs().max()), 1e-12)

    def test_a_solver_that_remembers(self):
        class AdamsBashforth:
            order, evaluations = 2, 1

            def step(self, step, x):
                slope = step.ode.velocity(x, step.t)
                h = step.s - step.t
                before = step.history["slope"] if "slope" in step.history else None
                step.history["slope"], step.history["h"] = slope, h.clone()
                if before is None or int(step.history.steps.min()) == 0:
                    return x + retort.rows(h, x) * slope
                return x + retort.rows(h, x) * (1.5 * slope - 0.5 * before)

        errors = []
        for steps in (40, 80):
            out, end = solved(AdamsBashforth(), "rectified_flow", steps)
            errors.append(float((out - end).square().mean().sqrt()))
        self.assertGreater(errors[0] / errors[1], 3)

    def test_threads_do_not_disturb_each_other(self):
        wanted, _ = solved("dpmpp_2m")
        outs = [None] * 4
        threads = [threading.Thread(target=lambda i=i: outs.__setitem__(i, solved("dpmpp_2m")[0])) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for out in outs:
            self.assertTrue(torch.equal(out, wanted))


class Errors(unittest.TestCase):
    def refused(self, *parts, **keys):
        with self.assertRaises(retort.RequestError) as caught:
            retort.solve(keys.pop("fn", lambda x, t: x), keys.pop("x", torch.ones(2, 3)), **{"prediction": "flow", **keys})
        line = str(caught.exception)
        self.assertNotIn("\n", line)
        for part in parts:
            self.assertIn(part, line)
        self.assertIsInstance(caught.exception, ValueError)
        return line

    def test_requests_that_cannot_be_right(self):
        self.refused("did you mean 'unipc'", "test_solve.py:", solver="unipcc")
        self.refused("did you mean 'karras'", schedule="karas")
        self.refused("did you mean 'order'", solver={"type": "unipc", "ordr": 3})
        self.refused("solver.order", solver={"type": "unipc", "order": "three"})
        self.refused("process", process="vq")
        self.refused("prediction", prediction=None)
        self.refused("parametrisation", prediction="speed")
        self.refused("time", time="clock")
        self.refused("falling times", schedule=[0.0, 1.0])
        self.refused("rho", schedule={"type": "karras", "steps": 5, "rho": -1})
        self.refused("int has no method 'step'", solver=7)
        self.refused("step(self, step, x)", solver=object())
        self.refused("2 rows", condition={"labels": torch.zeros(3)})
        self.refused("floating-point", x=torch.ones(2, 3, dtype=torch.int64))
        self.refused("start", schedule=[1.0, 0.0], process="rectified_flow", start=torch.ones(3))
        self.refused("guidance", guidance=2.0)
        self.refused("called with (x, t)", fn=3)

    def test_what_the_model_raises_arrives_as_it_was(self):
        class Mine(Exception):
            pass

        def fn(x, t):
            raise Mine("no")

        keys = dict(solver="heun", schedule=[1.0, 0.5, 0.0], process="rectified_flow", prediction="flow")
        try:
            retort.solve(fn, torch.ones(2, 3), **keys)
        except Mine as error:
            self.assertIn("in fn", "".join(traceback.format_exception(error)))
        else:
            self.fail("nothing was raised")

        def interrupted(x, t):
            raise KeyboardInterrupt

        with self.assertRaises(KeyboardInterrupt):
            retort.solve(interrupted, torch.ones(2, 3), **keys)
        # and nothing is left of them
        self.assertTrue(bool(retort.solve(lambda x, t: x, torch.ones(2, 3), **keys).isfinite().all()))

    def test_wrong_answers(self):
        keys = dict(solver="euler", schedule=[1.0, 0.0], process="rectified_flow", prediction="flow")
        with self.assertRaisesRegex(retort.Error, "shape"):
            retort.solve(lambda x, t: x[:, :1], torch.ones(2, 3), **keys)
        with self.assertRaisesRegex(retort.Error, "something else than a tensor"):
            retort.solve(lambda x, t: "x", torch.ones(2, 3), **keys)

    def test_what_was_lent_is_not_kept(self):
        kept = []

        class Mine:
            def step(self, step, x):
                kept.append(step)
                return x

        retort.solve(lambda x, t: x, torch.ones(2, 3), solver=Mine(), schedule=[1.0, 0.0], process="rectified_flow", prediction="flow")
        with self.assertRaisesRegex(retort.Error, "after it"):
            kept[0].t


class Pages(unittest.TestCase):
    def test_help_lists_what_there_is(self):
        self.assertIn("solver:", retort.solve.__doc__)
        self.assertIn("distance", retort.losses.cm.__doc__)
        self.assertIn("meanflow", dir(retort.losses))
        self.assertIn("karras", retort.plugins("schedule"))
        self.assertEqual(retort.describe("solver", "heun")["parameters"][0]["name"], "variable")
        with self.assertRaisesRegex(AttributeError, "meanflow"):
            retort.losses.mean_flow


if __name__ == "__main__":
    unittest.main()
