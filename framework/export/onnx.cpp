#include "export/onnx.h"

#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "export/torchscript.h"
#include "io/files.h"

namespace retort {

namespace fs = std::filesystem;

namespace {

// Lines of its output that begin with "retort: " are for the caller. The exporter by torch.export cannot read a
// TorchScript file, so the older one is asked for by name.
constexpr const char* program = R"py(
import json, sys, warnings
warnings.filterwarnings("ignore")
def stop(text):
    print("retort: " + text)
    sys.exit(3)
try:
    import torch
except ImportError:
    stop("needs the package torch in Python (pip install torch onnx)")
try:
    import onnx
except ImportError:
    stop("needs the package onnx in Python (pip install onnx)")
source, target, about = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
module = torch.jit.load(source, map_location='cpu').eval()
torch.manual_seed(0)
def example(given, rows):
    shape = [rows] + given["shape"]
    if given["type"] == "int64":
        return torch.randint(0, max(given["classes"], 2), shape)
    if given["type"] == "bool":
        return torch.ones(shape, dtype=torch.bool)
    return (torch.rand(shape) * 0.5 + 0.25) * given["scale"]
arguments = about["arguments"]
names = [given["name"] for given in arguments]
two = tuple(example(given, 2) for given in arguments)
axes = {name: {0: "batch"} for name in names + ["out"]}
try:
    with torch.no_grad():
        torch.onnx.export(module, two, target, input_names=names, output_names=["out"], dynamic_axes=axes,
                          opset_version=17, dynamo=False)
    onnx.checker.check_model(target)
except Exception as e:
    said = str(e).strip().split("\n")[0].split(". Please")[0].split("  [Caused")[0]
    stop("torch %s cannot convert it: %s; a TorchScript file serves instead" % (torch.__version__, said))
try:
    import onnxruntime
except ImportError:
    print("retort: done, but not tried (pip install onnxruntime)")
    sys.exit(0)
session = onnxruntime.InferenceSession(target, providers=["CPUExecutionProvider"])
most = 0.0
for rows in (1, 3):
    given = tuple(example(one, rows) for one in arguments)
    with torch.no_grad():
        wanted = module(*given)
    got = session.run(None, {name: tensor.numpy() for name, tensor in zip(names, given)
                             if name in {i.name for i in session.get_inputs()}})[0]
    most = max(most, float((torch.from_numpy(got) - wanted).abs().max() / max(1.0, float(wanted.abs().max()))))
if not most < 1e-3:
    stop("what torch %s made of it differs from it by %g" % (torch.__version__, most))
print("retort: done, with a largest difference of %.2g in onnxruntime" % most)
)py";

std::string quoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text) {
    out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  }
  return out + "'";
}

struct Answer {
  int code = 0;
  std::string output;
};

Answer run(const std::string& command) {
  Answer out;
  FILE* pipe = popen((command + " 2>&1").c_str(), "r");
  if (pipe == nullptr) {
    throw Error("a process cannot be started to run Python");
  }
  std::array<char, 4096> buffer{};
  for (size_t n = 0; (n = fread(buffer.data(), 1, buffer.size(), pipe)) > 0;) {
    out.output.append(buffer.data(), n);
  }
  const int status = pclose(pipe);
  out.code = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
  return out;
}

// Its last word to us, or else its last line.
std::string word_of(const Answer& answer) {
  const std::string mark = "retort: ";
  const size_t at = answer.output.rfind(mark);
  if (at != std::string::npos) {
    const size_t begin = at + mark.size();
    return answer.output.substr(begin, answer.output.find('\n', begin) - begin);
  }
  std::string text = answer.output;
  while (!text.empty() && text.back() == '\n') {
    text.pop_back();
  }
  return text.substr(text.rfind('\n') + 1);
}

Json arguments_of(const Outgoing& model, bool raw) {
  Json out = Json::array();
  for (const std::string& name : script_signature(model, raw).arguments) {
    Json one = {{"name", name}, {"shape", Json::array()}, {"type", "float32"}, {"classes", 0}, {"scale", 1.0}};
    if (name == "x") {
      one["shape"] = model.spec.shape;
    } else if (const Input* input = model.spec.find(name)) {
      one["shape"] = input->shape;
      one["classes"] = input->classes;
      one["type"] = input->dtype == at::kLong ? "int64" : input->dtype == at::kBool ? "bool" : "float32";
    } else if (!raw) {
      one["scale"] = model.process.t_max();
    }
    out.push_back(one);
  }
  return out;
}

}  // namespace

std::string write_onnx(const Outgoing& model, bool raw, const fs::path& script, const fs::path& out) {
  const char* chosen = std::getenv("RETORT_PYTHON");
  const std::string interpreter = chosen != nullptr && *chosen != 0 ? chosen : "python3";
  const std::string mine = std::to_string(getpid());
  const fs::path beside = out.string() + ".part" + mine, code = script.string() + ".py";
  write_text(code, program);
  const Answer answer =
      run(quoted(interpreter) + " " + quoted(code.string()) + " " + quoted(script.string()) + " " +
          quoted(beside.string()) + " " + quoted(spell(Json{{"arguments", arguments_of(model, raw)}})));
  std::error_code error;
  fs::remove(code, error);
  if (answer.code != 0) {
    fs::remove(beside, error);
    const std::string word = word_of(answer);
    throw RequestError("--format onnx: " + (answer.code == 127 || answer.code == 126
                                                ? "needs Python, and '" + interpreter +
                                                      "' cannot be run; $RETORT_PYTHON may name one with torch and onnx"
                                                : word));
  }
  fs::rename(beside, out, error);
  if (error) {
    throw Error(out.string() + ": cannot be written: " + error.message());
  }
  return word_of(answer);
}

}  // namespace retort
