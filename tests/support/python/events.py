"""Reads the event files of a folder by TensorBoard, and holds them against what tests/plugins/trackers.cpp wrote."""
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

events = EventAccumulator(sys.argv[1], size_guidance={"images": 0, "scalars": 0, "histograms": 0})
events.Reload()


def scalars(tag):
    return [(event.step, event.value) for event in events.Scalars(tag)]


assert sorted(events.Tags()["scalars"]) == ["diagnostics/tangent", "loss", "measured/fd"], events.Tags()
assert scalars("loss") == [(10, 0.5), (20, 0.125)], scalars("loss")
assert scalars("diagnostics/tangent") == [(10, 2.0)]
assert scalars("measured/fd") == [(10, 9.0), (20, 3.0)], scalars("measured/fd")
picture = events.Images("samples/1")[0]
assert (picture.step, picture.width, picture.height) == (20, 6, 4), picture
assert picture.encoded_image_string.startswith(b"\x89PNG")
values = events.Histograms("weights")[0].histogram_value
assert (values.min, values.max, values.num, values.sum, values.sum_squares) == (0, 4, 5, 11, 37), values
assert list(values.bucket_limit) == [1, 2, 3, 4] and list(values.bucket) == [1, 1, 1, 2], values
content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data
assert content.plugin_name == "hparams"
start = plugin_data_pb2.HParamsPluginData.FromString(content.content).session_start_info
assert start.hparams["train.learning_rate"].number_value == 0.5 and start.hparams["loss.type"].string_value == "cm", start
