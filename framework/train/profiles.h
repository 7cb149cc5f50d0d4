/// Profiles of averages over a training: how much the weights of each moment count, and what lengths they have.
///
/// A power-function average at time t weighs the weights of time u <= t by (gamma + 1) u^gamma / t^(gamma + 1). So it
/// grows with the training, and forgets the beginning. Its length is the profile's standard deviation over t, which is
/// sigma_rel in Karras et al. 2024 (EDM2, arXiv 2312.02696), section 3 and appendix C.
#pragma once

#include <cstdint>
#include <vector>

namespace retort {

/// gamma of a length above 0, and below that of the mean over all of the training, sqrt(1 / 12): the greatest root of
/// g^3 + 7 g^2 + (16 - s) g + 12 - s, where s = length^-2 (equation 126, algorithm 2).
double power_exponent(double length);
/// The length of a gamma >= 0 (equation 123).
double power_length(double gamma);
/// The decay of the step that ends at `time` >= 1, counted in steps: (1 - 1 / time)^(gamma + 1) (equation 127).
double power_decay(double gamma, double time);

struct PowerProfile {
  double gamma;
  double time;  // of the average, in any unit
};

/// The integral of the product of two profiles over all times (equation 151).
double inner_product(const PowerProfile& a, const PowerProfile& b);

/// What shares of some averages come nearest to another one.
struct Mixture {
  std::vector<double> shares;  // of each, some of them negative; their sum is 1
  double error;                // the mixture's profile less the wanted one, over that one, in the L2 norm
};
/// Least squares over the profiles, then a sum of 1 (algorithm 3). `from` holds no profile twice.
Mixture mix(const std::vector<PowerProfile>& from, const PowerProfile& wanted);

}  // namespace retort
