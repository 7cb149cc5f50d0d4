"""Training steps of distillation as plain PyTorch does them: EDM preconditioning, Karras' grid, sigma as the time."""

import torch


def rows(values, x):
    return values.to(x.dtype).view(-1, *[1] * (x.dim() - 1))


def denoise(network, x, sigma, sigma_data=0.5):
    """Karras et al. 2022, equation 7."""
    square = sigma ** 2 + sigma_data ** 2
    raw = network(rows(square.rsqrt(), x) * x, (sigma.clamp(1e-4, 1e4).log() / 4).to(x.dtype))
    return rows(sigma_data ** 2 / square, x) * x + rows(sigma * sigma_data / square.sqrt(), x) * raw.to(x.dtype)


def heun(network, x, t, s):
    """Karras et al. 2022, algorithm 1; Euler's step into zero."""
    d = (x - denoise(network, x, t)) / rows(t, x)
    y = x + rows(s - t, x) * d
    inner = s > 0
    if inner.any():
        d2 = (y[inner] - denoise(network, y[inner], s[inner])) / rows(s[inner], x)
        y[inner] = x[inner] + rows((s - t)[inner], x) * 0.5 * (d[inner] + d2)
    return y


def pseudo_huber(a, b):
    c = 0.00054 * a[0].numel() ** 0.5
    return ((a - b).flatten(1).square().sum(1) + c * c).sqrt() - c


class Distillation:
    """One student, its target and one teacher, of the same weights to begin with."""

    def __init__(self, teacher, student, target, x, noise, grid, autocast):
        self.teacher, self.student, self.target = teacher, student, target
        self.x, self.noise, self.grid, self.autocast = x, noise, grid, autocast
        self.student.requires_grad_(True)
        self.optimizer = torch.optim.Adam(self.student.parameters(), lr=2e-5)
        self.generator = torch.Generator().manual_seed(0)

    def _casting(self):
        return torch.autocast("cpu", torch.bfloat16, enabled=self.autocast)

    def _draw(self):
        index = torch.randint(len(self.grid) - 1, (len(self.x),), generator=self.generator)
        return index, self.x + rows(self.grid[index], self.x) * self.noise

    def _learn(self, x, t, target):
        with self._casting():
            loss = pseudo_huber(denoise(self.student, x, t), target).mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def cm_step(self):
        index, x = self._draw()
        t, s = self.grid[index], self.grid[index + 1]
        with torch.no_grad(), self._casting():
            y = heun(self.teacher, x, t, s)
            target = denoise(self.target, y, s)
            target = torch.where(rows(s, x) > 0, target, y)
        self._learn(x, t, target)

    def solve_masked(self, x, index):
        """The way of the paper's code: the whole batch goes through every step from the noisiest time on, and rows
        whose time has not come are put back."""
        with torch.no_grad(), self._casting():
            for i in range(int(index.min()), len(self.grid) - 1):
                t = self.grid[i].expand(len(x))
                d = (x - denoise(self.teacher, x, t)) / rows(t, x)
                after = x + rows(self.grid[i + 1] - t, x) * d
                waiting = index > i
                after[waiting] = x[waiting]
                x = after
        return x

    def direct_cm_step(self):
        index, x = self._draw()
        self._learn(x, self.grid[index], self.solve_masked(x, index))
