"""Retort's losses on modules of PyTorch."""

import copy
import unittest

import exact
import torch

import retort


class Small(torch.nn.Module):
    """A network as people write them: x, a time, and what else there may be."""

    def __init__(self, outputs=1):
        super().__init__()
        self.first = torch.nn.Linear(5, 32)
        self.last = torch.nn.Linear(32, 3 * outputs)

    def forward(self, x, t, end_time=None, **rest):
        end = torch.zeros_like(t) if end_time is None else end_time
        return self.last(torch.nn.functional.silu(self.first(torch.cat([x, t[:, None], end[:, None]], 1).to(x.dtype))))


def teacher(process="ve"):
    return retort.Teacher(exact.denoised(retort.process(process)), process=process, prediction="sample")


def data(n=16, seed=0):
    return exact.std * torch.randn(n, 3, generator=torch.Generator().manual_seed(seed))


def gradients(module):
    return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in module.parameters()]


class Losses(unittest.TestCase):
    def setUp(self):
        torch.manual_seed(0)

    def test_every_loss_gives_gradients(self):
        tried = 0
        for name in retort.plugins("loss"):
            if name in self.of_pictures_or_labels or name in ("python", "sum"):
                continue
            for process in ("ve", "rectified_flow"):
                with self.subTest(loss=name, process=process):
                    loss = getattr(retort.losses, name)()
                    needs = self.needs(loss, process)
                    if needs is None:
                        continue
                    module = Small(needs["outputs"])
                    student = retort.Student(module, process=process)
                    held = teacher(process)
                    for _ in range(3):  # a network of the loss's own may say nothing before it has learnt
                        values = loss.values(student, data(), teacher=held, step=0)
                        for role in values:
                            for p in loss.parameters(role):
                                p.grad = None
                        loss.backward(values)
                        with torch.no_grad():
                            for p in [p for role in loss.trained() for p in loss.parameters(role) if p.grad is not None]:
                                p.sub_(0.1 * p.grad)
                    self.assertIn("student", values)
                    for name_of_role, value in values.items():
                        self.assertTrue(bool(value.isfinite()), name_of_role)
                        own = [p.grad for p in loss.parameters(name_of_role) if p.grad is not None]
                        self.assertTrue(any(bool((g != 0).any()) for g in own), name_of_role)
                    tried += 1
        self.assertGreater(tried, 60)

    of_pictures_or_labels = ("autoencoding", "contrastive", "cross_entropy")

    def needs(self, loss, process):
        """What it needs; None where it is not for the process, which it says itself."""
        try:
            loss.prepare(retort.Student(Small(), process=process), data(), teacher=teacher(process))
        except retort.RequestError as error:
            self.assertNotIn("\n", str(error))
            return None
        return loss._bound.loss.needs()

    def test_flow_matching_is_its_formula(self):
        # Where s = t, MeanFlow is flow matching: |F(x_t, t) - (n - x0)|^2. The numbers drawn are found out by a student.
        seen = {}

        class Spy(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.scale = torch.nn.Parameter(torch.tensor(0.5))

            def forward(self, x, t, end_time):
                seen.update(x=x.detach(), t=t.detach(), gap=end_time.detach())
                return self.scale * x

        spy, x0 = Spy(), data()
        loss = retort.losses.meanflow(equal_share=1.0, weighting_power=0.0) if self.has("meanflow", "weighting_power") else (
            retort.losses.meanflow(equal_share=1.0)
        )
        rows = loss(spy, x0, reduction="none")
        t = loss.t.to(torch.float32)[:, None]
        self.assertTrue(bool((seen["gap"] == 0).all()))
        n = (seen["x"] - (1 - t) * x0) / t
        error = (0.5 * seen["x"] - (n - x0)).square().sum(1)
        weight = rows / error
        # one weight for all rows, or 1 / (L + c)^p of each: the gradient is the weight times that of the square
        (gradient,) = torch.autograd.grad(rows.sum(), spy.parameters())
        by_hand = (weight.detach() * 2 * ((0.5 * seen["x"] - (n - x0)) * seen["x"]).sum(1)).sum()
        self.assertAlmostEqual(float(gradient), float(by_hand), delta=1e-3 * abs(float(by_hand)))

    @staticmethod
    def has(loss, key):
        return any(p["name"] == key for p in retort.describe("loss", loss)["parameters"])

    def test_a_loss_of_ones_own_is_the_plugin(self):
        class Consistency:
            makes = "consistency"
            roles = [{"name": "target", "update": "average", "decay": 0.95}]

            def __call__(self, step):
                index = step.draw()
                t, s = step.grid[index], step.grid[index + 1]
                x_t = step.process.add_noise(step.x, step.noise(), t)
                x_s = step.solver_step(x_t, t, s)
                last = (index == len(step.grid) - 2).view(-1, 1)
                goal = torch.where(last, x_s, step.target(x_s, s))
                return (step.student(x_t, t) - goal).square().flatten(1).mean(1), t

        module = Small()
        keys = dict(solver="heun", schedule="karras", steps=10)
        ours, mine = retort.losses.cm(target="ema", target_ema=0.95, **keys), retort.Loss(Consistency(), **keys)
        student = retort.Student(module, prediction="edm")
        for _ in range(3):
            found = []
            for loss in (ours, mine):
                module.zero_grad()
                value = loss(student, data(), teacher=teacher())
                value.backward()
                found.append((value.item(), gradients(module)))
            self.assertAlmostEqual(found[0][0], found[1][0], delta=1e-6 * found[0][0])
            for a, b in zip(found[0][1], found[1][1]):
                self.assertLess(float((a - b).abs().max()), 1e-6 + 1e-5 * float(a.abs().max()))
            with torch.no_grad():
                for p in module.parameters():
                    p.add_(0.01 * torch.randn_like(p))
            ours.update()
            mine.update()

    def test_averages_follow(self):
        module = Small()
        loss = retort.losses.cm(target="ema", target_ema=0.9)
        loss(module, data(), teacher=teacher())
        before = [p.clone() for p in loss.parameters("target")]
        with torch.no_grad():
            for p in module.parameters():
                p.add_(1.0)
        loss.update()
        for average, was, weight in zip(loss.parameters("target"), before, module.parameters()):
            self.assertLess(float((average - (0.9 * was + 0.1 * weight)).abs().max().detach()), 1e-6)
            self.assertFalse(average.requires_grad)

    def test_each_network_is_trained_by_its_own_value(self):
        module = Small()
        loss = retort.losses.diff_instruct()
        student = retort.Student(module, process="ve")
        with self.assertRaisesRegex(retort.RequestError, "backward"):
            loss(student, data(), teacher=teacher(), step=0)
        values = loss.values(student, data(), teacher=teacher(), step=0)
        name = next(n for n in values if n != "student")
        module.zero_grad()
        for p in loss.parameters(name):
            p.grad = None
        loss.backward({name: loss.values(student, data(), teacher=teacher(), step=0)[name]})
        self.assertTrue(all(p.grad is None for p in module.parameters()))
        self.assertTrue(any(p.grad is not None for p in loss.parameters(name)))

    def test_training_brings_samples_to_the_data(self):
        module = Small()
        loss = retort.losses.direct_cm(solver="heun", schedule={"type": "karras", "steps": 8, "sigma_max": 5.0})
        student = retort.Student(module, sigma_data=exact.std, prediction="edm")
        optimizer = torch.optim.Adam(module.parameters(), 3e-3)
        noise = torch.randn(2000, 3)
        for step in range(1000):
            optimizer.zero_grad()
            loss(student, data(64, seed=step), teacher=teacher(), progress=step / 1000).backward()
            optimizer.step()
            optimizer.param_groups[0]["lr"] = 3e-3 * (1 - step / 1000)
        for steps in (1, 2):
            out = retort.sample(student, noise, loss, steps=steps)
            self.assertAlmostEqual(float(out.std()), exact.std, delta=0.1, msg=f"{steps} steps")
        self.assertTrue(torch.equal(out, retort.sample(student, noise, loss, steps=2)))

    def test_own_networks_stay_whatever_teacher_is_given(self):
        loss = retort.losses.gan()
        student = retort.Student(Small(), process="ve")
        loss.prepare(student, data())
        for p in loss.parameters("discriminator"):
            torch.nn.init.normal_(p, std=0.1)
        before = loss.values(student, data(), step=0)["discriminator"].item()
        self.assertNotAlmostEqual(before, 2 * torch.tensor(2.0).log().item(), delta=1e-6)
        self.assertEqual(before, loss.values(student, data(), teacher=teacher(), step=0)["discriminator"].item())
        with self.assertRaisesRegex(retort.RequestError, "expected the same again"):
            loss.values(student, data()[:, :2], step=0)

    def test_steps_draw_the_same_numbers_again(self):
        module, loss = Small(), retort.losses.cm()
        a = loss(module, data(), teacher=teacher(), step=4).item()
        b = loss(module, data(), teacher=teacher(), step=5).item()
        self.assertNotEqual(a, b)
        self.assertEqual(a, loss(module, data(), teacher=teacher(), step=4).item())
        other = copy.deepcopy(module)
        self.assertEqual(a, loss(other, data(), teacher=teacher(), step=4).item())

    def test_requests_that_cannot_be_right(self):
        module = Small()
        for parts, make in [
            (["needs a teacher"], lambda: retort.losses.cm()(module, data())),
            (["did you mean 'distance'"], lambda: retort.losses.cm(distanc="l2")(module, data(), teacher=teacher())),
            (["retort.Teacher"], lambda: retort.losses.cm()(module, data(), teacher=lambda x, t: x)),
            (["expected one"], lambda: retort.losses.cm()(retort.Student(module, process="vp_linear"), data(), teacher=teacher())),
            (["did you mean"], lambda: retort.losses.cm(solver="huen")(module, data(), teacher=teacher())),
            (["boundary"], lambda: retort.losses.cm()(retort.Student(module, boundary="none"), data(), teacher=teacher())),
            (["predict"], lambda: retort.losses.meanflow()(retort.Student(module, prediction="sample"), data())),
        ]:
            with self.assertRaises(retort.RequestError) as caught:
                make()
            for part in parts:
                self.assertIn(part, str(caught.exception))
            self.assertNotIn("\n", str(caught.exception))


if __name__ == "__main__":
    unittest.main()
