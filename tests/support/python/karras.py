"""The grid of Karras et al. 2022, eq. 5, to be held against the plugin of that name."""
import torch


class Schedule:
    steps, low, high, rho = 18, 0.002, 20.0, 7.0

    def times(self, process, progress):
        a, b = self.high ** (1 / self.rho), self.low ** (1 / self.rho)
        levels = [(a + i / (self.steps - 1) * (b - a)) ** self.rho for i in range(self.steps)]
        return process.time_of_noise_level(torch.tensor([*levels, 0.0], dtype=torch.float64))

    def draw(self, intervals, uniform):
        return (uniform * intervals).long().clamp(max=intervals - 1)
