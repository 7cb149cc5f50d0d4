/// Quantiles of distributions that grids and densities of times are made of.
#pragma once

#include <boost/math/distributions/students_t.hpp>
#include <boost/math/special_functions/beta.hpp>

#include "retort/times.h"

namespace retort {

/// The x in [0, 1] below which Beta(a, b) has mass p.
inline double beta_quantile(double p, double a, double b) { return boost::math::ibeta_inv(a, b, p); }

/// The mass of Student's t below x, and its inverse.
inline double student_t_cdf(double x, double freedom) { return boost::math::cdf(boost::math::students_t(freedom), x); }
inline double student_t_quantile(double p, double freedom) {
  return boost::math::quantile(boost::math::students_t(freedom), p);
}

}  // namespace retort
