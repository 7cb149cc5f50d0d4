#include "retort/autoencoder.h"

#include <ATen/ATen.h>

#include <cmath>
#include <optional>

#include "world.h"

namespace retort::conformance {

namespace {

using Shape = std::vector<int64_t>;

Tensor numbers(const Shape& shape, int64_t count, const char* stream) {
  Shape all = shape;
  all.insert(all.begin(), count);
  return at::randn(all, seeded(11, stream), at::TensorOptions().dtype(at::kFloat));
}

// Shapes of samples that are tried: points, grey and coloured pictures, square or not.
const std::vector<Shape> shapes = {{3, 32, 32}, {1, 32, 32}, {3, 32, 64}, {1, 28, 28}, {4, 32, 32}, {2}};

class Study {
 public:
  Study(std::shared_ptr<Autoencoder> coder, Shape picture)
      : coder_(std::move(coder)),
        picture_(std::move(picture)),
        latent_(coder_->latent_shape(picture_)),
        x_(numbers(picture_, count, "pictures").clamp(-1, 1)) {}

  void check(Findings& out) {
    const at::NoGradGuard no_grad;
    const std::string on = " of " + spell_shape(picture_);
    const Tensor z = coder_->encode(x_), y = coder_->decode(z);
    has_shape("latents" + on, z, latent_, out);
    const Shape back = coder_->picture_shape(latent_);
    has_shape("decoded latents" + on, y, back, out);
    out.add("picture_shape and latent_shape" + on, back.size() == picture_.size(), spell_shape(back),
            "as many dimensions as a picture has");
    check_rows(on, z, y, out);
    check_repeats(on, z, y, out);
    check_noise(on, z, out);
    const Tensor wider = coder_->encode(x_.to(at::kDouble));
    out.add("gives back the type that it is given" + on, wider.scalar_type() == at::kDouble,
            c10::toString(wider.scalar_type()), "Double for Double");
  }

 private:
  static constexpr int64_t count = 5;

  static void has_shape(const std::string& name, const Tensor& t, const Shape& wanted, Findings& out) {
    Shape shape = wanted;
    shape.insert(shape.begin(), count);
    out.add(name, t.sizes() == at::IntArrayRef(shape) && t.scalar_type() == at::kFloat && all_finite(t),
            spell_shape(t.sizes()) + " " + c10::toString(t.scalar_type()) + (all_finite(t) ? "" : ", not finite"),
            spell_shape(shape) + " Float, finite");
  }

  void check_rows(const std::string& on, const Tensor& z, const Tensor& y, Findings& out) const {
    std::vector<Tensor> encoded, decoded;
    for (int64_t i = 0; i < count; ++i) {
      encoded.push_back(coder_->encode(x_.narrow(0, i, 1)));
      decoded.push_back(coder_->decode(z.narrow(0, i, 1)));
    }
    out.at_most("encoded rows are independent" + on, largest(z - at::cat(encoded)) / (1 + largest(z)), 1e-4,
                "batch and single rows differ by");
    out.at_most("decoded rows are independent" + on, largest(y - at::cat(decoded)) / (1 + largest(y)), 1e-4,
                "batch and single rows differ by");
  }

  void check_repeats(const std::string& on, const Tensor& z, const Tensor& y, Findings& out) const {
    Given given;
    given("x", x_);
    given("z", z);
    const bool same = same_bits(z, coder_->encode(x_)) && same_bits(y, coder_->decode(z));
    given.check(out);
    out.add("deterministic" + on, same, same ? "equal bits" : "differs", "equal bits from equal inputs");
  }

  void check_noise(const std::string& on, const Tensor& z, Findings& out) const {
    const double without = largest(coder_->encode(x_, at::zeros_like(z)) - z);
    out.at_most("noise of zero is none" + on, without / (1 + largest(z)), 1e-6, "the latents differ by");
    const Tensor noise = numbers(latent_, count, "noise");
    const Tensor once = coder_->encode(x_, noise), other = coder_->encode(x_, -noise);
    const double apart = largest(once - z);
    // Drawn with noise and with its opposite, latents lie on both sides of their mean.
    out.at_most("latents are drawn about their mean" + on, largest((once + other) / 2 - z) / (1 + apart + largest(z)),
                1e-4, apart > 0 ? "the mean of two opposite draws is off by" : "nothing is drawn;");
  }

  std::shared_ptr<Autoencoder> coder_;
  Shape picture_, latent_;
  Tensor x_;
};

void check_refusal(const Autoencoder& coder, const Shape& shape, Findings& out) {
  std::string what = "no error";
  try {
    coder.encode(numbers(shape, 1, "pictures"));
  } catch (const Error&) {
    what = "an Error";
  } catch (const std::exception& e) {
    what = "another exception";
  }
  out.add("refuses " + spell_shape(shape), what == "an Error", what, "an Error, as latent_shape throws one");
}

}  // namespace

void check_autoencoder(const Subject& subject, Findings& out) {
  out.run("is built", [&] {
    World world(make_process("ve"), {}, subject.host);
    const auto coder = world.build<Autoencoder>(subject);
    const double factor = coder->scaling_factor(), shift = coder->shift();
    out.add("scaling factor", std::isfinite(factor) && factor > 0, spell(factor), "a finite number above 0");
    out.add("shift", std::isfinite(shift), spell(shift), "a finite number");
    std::string takes, refusal;
    for (const Shape& shape : shapes) {
      try {
        coder->latent_shape(shape);
      } catch (const RequestError& e) {
        refusal = e.what();
        check_refusal(*coder, shape, out);
        continue;
      }
      takes += (takes.empty() ? "" : ", ") + spell_shape(shape);
      out.run("encodes and decodes " + spell_shape(shape), [&] { Study(coder, shape).check(out); });
    }
    out.add("takes a shape", !takes.empty(), takes.empty() ? "none: " + refusal : takes, "one at least");
  });
}

}  // namespace retort::conformance
