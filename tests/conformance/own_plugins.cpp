#include "config/toml.h"
#include "io/files.h"
#include "io/png.h"
#include "io/safetensors.h"
#include "plugin/check.h"
#include "support/autoencoders.h"
#include "support/support.h"
#include "support/torchscript.h"

using namespace retort;
using namespace retort::test;

namespace fs = std::filesystem;

namespace {

const std::string small_kl =
    "block_out_channels = [8, 16]\nnorm_num_groups = 4\ndown_block_types = [\"DownEncoderBlock2D\", "
    "\"AttnDownEncoderBlock2D\"]\nup_block_types = [\"UpDecoderBlock2D\", \"UpDecoderBlock2D\"]\n";
const std::string small_tiny =
    "encoder_block_out_channels = [8, 8]\ndecoder_block_out_channels = [8, 8]\nnum_encoder_blocks = [1, "
    "1]\nnum_decoder_blocks = [1, 1]\n";

// Parameters beyond the defaults with which a plugin is checked; "" stands for the defaults themselves.
std::vector<std::string> variants(const PluginFile& file, const Folder& folder) {
  const std::string weights = source_dir() + "/configs/weights", python = source_dir() + "/tests/support/python";
  const std::map<std::string, std::vector<std::string>> special = {
      {"solver dpm_solver", {"order = 1", "order = 2", "order = 3"}},
      {"solver dpmpp_3m", {"", "d2_factor = 1", "second_step = \"dpmpp_2m\""}},
      {"solver adams_bashforth_norsett", {"", "order = 2"}},
      {"solver deis", {"order = 1", "", "variable = \"rho\""}},
      {"solver lms", {"", "order = 2"}},
      {"solver res_3m", {"", "gamma = \"res4lyf\""}},
      {"solver gradient_estimation", {"", "gamma = 1.5"}},
      {"solver dpmpp_2s", {"", "r1 = 0.8"}},
      {"solver dpm_adaptive", {"", "order = 2\nrtol = 0.005\natol = 0.0005"}},
      {"solver heun", {"", "variable = \"time\"", "variable = \"time\"\nfinal_step = \"heun\""}},
      {"solver rk45", {"", "rtol = 1e-8\natol = 1e-8"}},
      {"solver dpmpp_2m_sde", {"", "eta = 0", "variant = \"heun\""}},
      {"solver churn", {"", "s_churn = 0", "solver = \"dpm_solver\""}},
      {"solver sa_solver", {"", "tau = 0", "predictor_order = 2\ncorrector_order = 0"}},
      {"solver er_sde", {"", "noise_scale = \"ode\"", "order = 2\nnoise_scale = \"sde\""}},
      {"solver restart", {"", "intervals = []", "intervals = [[0.5, 2, 1, 3]]\nsolver = \"unipc\""}},
      {"solver python",
       {"file = \"" + python + "/midpoint.py\"", "file = \"" + python + "/ddim.py\"",
        "file = \"" + python + "/remembering.py\""}},
      {"loss python", {"file = \"" + python + "/cm.py\"", "file = \"" + python + "/losses.py\""}},
      {"schedule python", {"file = \"" + python + "/karras.py\""}},
      {"dataset python", {"file = \"" + python + "/ring.py\""}},
      {"metric python", {"file = \"" + python + "/ring.py\""}},
      {"network python", {"file = \"" + python + "/ring.py\""}},
      {"teacher python",
       {"file = \"" + python + "/ring.py\"\nparametrisation = \"data\"\ntime = \"sigma\"\ninput = \"x\"\nshape = [2]"}},
      {"tracker python", {"file = \"" + python + "/tracker.py\""}},
      {"loss cm", {"", "target = \"ema\"", "distance = \"l1\"", "distance = \"pseudo_huber\""}},
      {"loss reflow", {"", "times = \"steps\""}},
      {"loss pcm", {"", "phases = 1"}},
      {"loss f_distill", {"discriminator = \"mlp\"", "discriminator = \"mlp\"\ndivergence = \"kl\""}},
      {"loss pi_flow", {"", "outputs = 4\nsegments = [1, 2]\nwindow = 3\nmixing_steps = 100"}},
      {"loss gan", {"discriminator = \"mlp\"", "discriminator = \"mlp\"\nform = \"hinge\"\nr1_weight = 1"}},
      {"loss tdm", {"", "steps = 2\nnoise_to = \"noisiest\"\nrandom_end = true"}},
      {"loss drifting", {"", "scale_forces = false\nper_class = false", "group = 8\nleast_affinity = 0.001"}},
      {"loss lcm", {"", "skip = 3\ntarget = \"student\""}},
      {"loss shortcut", {"", "finest = 16\nfinest_jump = \"step\"", "bootstrap_share = 1"}},
      {"loss consistency_fm", {"", "segments = 1\ndata_below = 1"}},
      {"loss imm", {"", "network_input = \"t\"", "particles = 1", "form = \"torch_flow_models\""}},
      {"loss align_your_flow", {"", "weight = \"one\"\nderivative = \"difference\"", "pairs = \"logit_normal\""}},
      {"loss tvm", {"", "target_ema = 0\nderivative_gradient = false", "derivative = \"jvp\""}},
      {"loss facm", {"", "times = \"logit_normal\"\nderivative = \"difference\""}},
      {"loss tim", {"", "weight = \"square\"\nwidth = \"ratio\""}},
      {"loss anyflow", {"", "shift = 3", "equal_share = 0\nderivative = \"jvp\""}},
      {"loss imeanflow", {"", "velocity_weight = 1", "derivative = \"difference\""}},
      {"loss self_distillation",
       {"", "form = \"eulerian\"\nderivative = \"jvp\"", "form = \"progressive\"", "stop_gradient = false"}},
      {"loss horizon", {"", "steps = 1", "steps = 0\ntarget = \"ema\"", "random = true\nweighting = \"karras\""}},
      {"loss ct", {"", "target = \"student\"\ndistance = \"l1\""}},
      {"loss ect", {"", "mapping = \"constant\"\nq = 256.0\nparts = 1", "weighting = \"truncated_snr\""}},
      {"loss scm",
       {"", "tangent = \"clipped\"\nprior = \"none\"", "velocity = \"teacher\"\nvariance = \"learned\"", "warmup = 0"}},
      {"loss continuous_cm", {"", "velocity = \"teacher\"", "times = \"karras\""}},
      {"loss direct_cm", {"", "distance = \"pseudo_huber_vector\"", "pairs = 4"}},
      {"loss sum",
       {"terms = [{ type = \"cm\" }]", "terms = [{ type = \"cm\" }, { type = \"direct_cm\", weight = 0.5 }]"}},
      {"metric fd",
       {"", "teacher = false",
        "teacher = false\nstatistics = \"" + source_dir() + "/tests/fixtures/features/plane.npz\""}},
      {"metric consistency_error", {"", "self_consistency = true"}},
      {"metric precision_recall", {"", "density_coverage = true"}},
      {"metric mmd", {"", "median_of = \"pooled\"", "bandwidths = [0.5, 1]\nestimate = \"biased\""}},
      {"metric mode_coverage", {"layout = \"ring\"\nstd = 0.3"}},
      {"metric sinkhorn", {"", "scaled = false"}},
      {"metric vendi", {"", "kernel = \"gaussian\"\norder = 2"}},
      {"loss denoising",
       {"", "times = \"uniform\"", "label_dropout = 0", "times = \"logit_normal\"\nstratified = true"}},
      {"schedule explicit", {"", "times = [9.0, 1.0, 0.0]\nunit = \"noise_level\""}},
      {"schedule karras", {"", "final_zero = false", "sigma_max = 10\nsteps = 40"}},
      {"schedule log_snr", {"", "final_zero = false", "rho = 2"}},
      {"schedule uniform", {"", "t_max = 0.9\nt_min = 0.1", "rho = 2\nt_min = 0.01"}},
      {"schedule kl_optimal", {"", "sigma_data = 0.5\nfinal_zero = false"}},
      {"schedule vp", {"", "final_zero = false"}},
      {"schedule beta", {"", "t_max = 0.9\nt_min = 0.1", "variable = \"noise_level\"\nt_min = 0.1"}},
      {"schedule bong_tangent", {"", "middle = 0.3\nslope = 1"}},
      {"schedule flow_shift", {"", "image_seq_len = 1024", "shift_terminal = 0.1"}},
      {"schedule ays", {"", "model = \"svd\"", "final_zero = false"}},
      {"schedule ddpm",
       {"", "steps = 33\nspacing = \"trailing\"", "steps = 20\nspacing = \"leading\"\nsteps_offset = 1",
        "spacing = \"linspace\"\nlower_end = false", "steps = 25\nspacing = \"lcm\""}},
      {"teacher network", {"checkpoint = \"" + weights + "/fashion_mnist_teacher.safetensors\""}},
      {"teacher gaussian_mixture", {"", "layout = \"ring\"", "layout = \"grid\"\nmodes = 9"}},
      {"dataset image_folder", {"folder = \"" + folder.string() + "/pictures\""}},
      {"dataset mnist_idx", {"images = \"" + folder.string() + "/x\"\nlabels = \"" + folder.string() + "/y\""}},
      {"dataset captions",
       {"", "labels = true\nlength = 3", "dataset = \"moons\"\ntemplate = \"a moon\"",
        "folder = \"" + folder.string() + "/pictures\"\nletters = true\nflip = true"}},
      {"dataset latents",
       {"folder = \"" + folder.string() + "/latents\"",
        "folder = \"" + folder.string() + "/latents\"\nunconditional_every = 3\nscaling_factor = 0.5"}},
      {"dataset gaussian_mixture", {"", "layout = \"ring\""}},
      {"dataset emoji", fs::exists("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
                            ? std::vector<std::string>{"size = 16",
                                                       "size = 8\ntest = \"both\"\ngroups = [\"Animals & Nature\"]\n"
                                                       "conditions = [\"input_ids\", \"time_ids\", \"caption\"]"}
                            : std::vector<std::string>{}},
      {"network unet", {"widths = [8, 16]\ngroups = 4"}},
      {"network unet_text",
       {"widths = [8, 16]\ngroups = 4\nheads = 2", "widths = [8]\nattention = [0]\ndepth = 2\npatch = 4"}},
      {"teacher diffusers",
       {"folder = \"" + source_dir() + "/tests/fixtures/diffusers/pixel\"\nscheduler = \"" + source_dir() +
        "/tests/fixtures/diffusers/schedulers/edm\""}},
      {"teacher torchscript", {"file = \"" + folder.string() + "/net.pt\"\nparametrisation = \"edm\""}},
      {"network unet_2d",
       {"block_out_channels = [8, 16]\nlayers_per_block = 1\nnorm_num_groups = 4\nin_channels = 1\nout_channels = 1\n"
        "down_block_types = [\"DownBlock2D\", \"AttnDownBlock2D\"]\nup_block_types = [\"AttnUpBlock2D\", "
        "\"UpBlock2D\"]",
        "block_out_channels = [8, 16]\nlayers_per_block = 1\nnorm_num_groups = 4\nresnet_time_scale_shift = "
        "\"scale_shift\"\n"
        "downsample_type = \"resnet\"\nupsample_type = \"resnet\"\n"
        "down_block_types = [\"ResnetDownsampleBlock2D\", \"AttnDownBlock2D\"]\n"
        "up_block_types = [\"AttnUpBlock2D\", \"ResnetUpsampleBlock2D\"]"}},
      {"network unet_2d_condition",
       {"block_out_channels = [8, 16]\nlayers_per_block = 1\nnorm_num_groups = 4\nin_channels = 3\nout_channels = 3\n"
        "down_block_types = [\"DownBlock2D\", \"CrossAttnDownBlock2D\"]\n"
        "up_block_types = [\"CrossAttnUpBlock2D\", \"UpBlock2D\"]\nattention_head_dim = 2\ncross_attention_dim = 16\n"
        "addition_embed_type = \"text_time\"\naddition_time_embed_dim = 4\nprojection_class_embeddings_input_dim = "
        "32"}},
      {"network dit_transformer_2d",
       {"in_channels = 1\nnum_embeds_ada_norm = 10\nnum_attention_heads = 2\nattention_head_dim = 8\nnum_layers = "
        "2\nsample_size = 28",
        "in_channels = 3\nout_channels = 6\npatch_size = 4\nnum_embeds_ada_norm = 10\nnum_attention_heads = "
        "2\nattention_head_dim = 8\nnum_layers = "
        "2"}},
      {"network clip",
       {"vocabulary = 8\nwidths = [8, 16]\ngroups = 4\nwidth = 16\nlayers = 2\nheads = 2\ndropout = 0.0"}},
      {"network autoencoder_kl", {small_kl, small_kl + "use_quant_conv = false\nmid_block_add_attention = false"}},
      {"network autoencoder_tiny", {small_tiny, small_tiny + "upsample_fn = \"bilinear\"\nact_fn = \"silu\""}},
      {"autoencoder autoencoder_kl",
       {"folder = \"" + folder.string() + "/kl\"",
        "folder = \"" + folder.string() + "/kl\"\nbatch = 2\nscaling_factor = 2"}},
      {"autoencoder autoencoder_tiny", {"folder = \"" + folder.string() + "/tiny\""}},
      {"loss autoencoding", {"", "distance = \"l2\"\nlatent_weight = 0"}},
      {"network torchscript", {"file = \"" + folder.string() + "/net.pt\""}},
      {"network picture_encoder", {}},  // it gives features, and is nothing to train
      {"metric clip_score", {}},        // of samples with prompts
      {"metric aesthetic", {"file = \"" + folder.string() + "/predictor.safetensors\""}},
#ifdef __SANITIZE_ADDRESS__
      {"backend onednn", {}},  // off under sanitizers
#else
      {"backend onednn", {"", "chunk = 3", "precision = \"bfloat16\"", "precision = \"auto\""}},
#endif
      {"backend cuda", at::hasCUDA()
                           ? std::vector<std::string>{"", "precision = \"bfloat16\"", "precision = \"float16\""}
                           : std::vector<std::string>{}},
      {"backend cpu", {"", "precision = \"float64\"", "precision = \"bfloat16\"", "channels_last = false"}}};
  const auto found = special.find(file.kind + " " + file.name);
  return found != special.end() ? found->second : std::vector<std::string>{""};
}

// Data for the plugins that read files.
void write_data(const Folder& folder) {
  const auto big_endian = [](uint32_t n) {
    return std::string{static_cast<char>(n >> 24), static_cast<char>(n >> 16), static_cast<char>(n >> 8),
                       static_cast<char>(n)};
  };
  std::string pixels, labels;
  for (int i = 0; i < 40; ++i) {
    labels += static_cast<char>(i % 4);
    for (int j = 0; j < 16; ++j) {
      pixels += static_cast<char>(i * 6 + j * 3);
    }
  }
  write_text(folder / "x", std::string{0, 0, 8, 3} + big_endian(40) + big_endian(4) + big_endian(4) + pixels);
  write_text(folder / "y", std::string{0, 0, 8, 1} + big_endian(40) + labels);
  write_pointwise_script(folder / "net.pt");
  AutoencoderCase(autoencoder_case("Stable Diffusion")).write(folder / "kl");
  AutoencoderCase(autoencoder_case("TAESD")).write(folder / "tiny");
  write_safetensors(
      folder / "predictor.safetensors",
      {{{"layers.0.weight", normal({3, 2})}, {"layers.0.bias", normal({3})}, {"layers.2.weight", normal({1, 3})}}, {}});
  make_folder(folder / "latents");
  for (const int64_t n : {13, 7}) {
    write_safetensors(folder / "latents" / (std::to_string(n) + ".safetensors"),
                      {{{"latents", normal({n, 4, 2, 2}).to(at::kHalf)},
                        {"prompt_embeds", normal({n, 3, 5}).to(at::kBFloat16)},
                        {"attention_mask", normal({n, 3}) > 0},
                        {"labels", at::arange(n, at::kLong).remainder(3)},
                        {"uncond_prompt_embeds", at::zeros({3, 5})}},
                       {}});
  }
  for (const char* name : {"a", "b"}) {
    make_folder(folder / "pictures" / name);
    for (int i = 0; i < 12; ++i) {
      write_text(folder / "pictures" / name / (std::to_string(i) + ".png"),
                 encode_png(at::rand({3, 4, 4}, seeded(0, name, static_cast<uint64_t>(i)))));
      write_text(folder / "pictures" / name / (std::to_string(i) + ".txt"), "number " + std::to_string(i));
    }
  }
}

void check_all_of(const std::string& kind) {
  Folder folder;
  write_data(folder);
  int64_t checked = 0;
  for (const PluginFile& file : registry().files()) {
    if (file.kind != kind) {
      continue;
    }
    for (const std::string& toml : variants(file, folder)) {
      CAPTURE(file.name);
      CAPTURE(toml);
      const auto properties = check_plugin(registry(), file, parse_toml(toml, ""));
      CHECK(properties.size() >= 5);
      for (const conformance::Property& p : properties) {
        CHECK_MESSAGE(p.holds, (p.name + ": measured " + p.measured + ", expected " + p.expected));
      }
      ++checked;
    }
  }
  CHECK(checked > 0);
}

}  // namespace

TEST_CASE("every teacher has the properties of its kind") { check_all_of("teacher"); }
TEST_CASE("every solver has the properties of its kind") { check_all_of("solver"); }
TEST_CASE("every loss has the properties of its kind") { check_all_of("loss"); }
TEST_CASE("every schedule has the properties of its kind") { check_all_of("schedule"); }
TEST_CASE("every network has the properties of its kind") { check_all_of("network"); }
TEST_CASE("every data set has the properties of its kind") { check_all_of("dataset"); }
TEST_CASE("every metric has the properties of its kind") { check_all_of("metric"); }
TEST_CASE("every autoencoder has the properties of its kind") { check_all_of("autoencoder"); }
TEST_CASE("every tracker has the properties of its kind") { check_all_of("tracker"); }
TEST_CASE("every backend has the properties of its kind") { check_all_of("backend"); }
