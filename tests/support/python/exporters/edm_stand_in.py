"""Small networks with the interface of EDM's: attributes, arguments, scalings."""

import torch


class Inner(torch.nn.Module):
    def __init__(self, channels, label_dim):
        super().__init__()
        self.conv0 = torch.nn.Conv2d(channels, 8, 3, padding=1)
        self.conv1 = torch.nn.Conv2d(8, channels, 3, padding=1)
        self.noise, self.labels = torch.nn.Linear(2, 8), torch.nn.Linear(label_dim, 8)

    def forward(self, x, noise_labels, class_labels, augment_labels=None):
        waves = torch.stack([noise_labels.cos(), noise_labels.sin()], 1)
        emb = self.noise(waves) + self.labels(class_labels)
        return self.conv1(torch.nn.functional.silu(self.conv0(x) + emb[:, :, None, None]))


class Precond(torch.nn.Module):
    def __init__(self, img_resolution, img_channels, label_dim):
        super().__init__()
        self.img_resolution, self.img_channels, self.label_dim = img_resolution, img_channels, label_dim
        self.use_fp16 = True
        self.model = Inner(img_channels, label_dim)

    def forward(self, x, sigma, class_labels=None, force_fp32=False, **model_kwargs):
        sigma = sigma.to(torch.float32).reshape(-1, 1, 1, 1)
        class_labels = class_labels.to(torch.float32).reshape(-1, self.label_dim)
        c_skip, c_out, c_in, c_noise = self.scalings(sigma)
        return c_skip * x + c_out * self.model(c_in * x, c_noise.flatten(), class_labels=class_labels, **model_kwargs)


class EDMPrecond(Precond):
    sigma_data = 0.7

    def scalings(self, sigma):
        square = sigma**2 + self.sigma_data**2
        return self.sigma_data**2 / square, sigma * self.sigma_data / square.sqrt(), 1 / square.sqrt(), sigma.log() / 4


class VPPrecond(Precond):
    def scalings(self, sigma):
        return 1, -sigma, 1 / (sigma**2 + 1).sqrt(), 999 * (1 - 1 / (1 + sigma))
