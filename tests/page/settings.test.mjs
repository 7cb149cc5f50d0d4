// What rows have in common, how they are named, and what is said of them together.
import assert from "node:assert/strict";
import { test } from "node:test";
import { linesOver, ranking } from "../../framework/report/page/orders.mjs";
import { readSettings } from "../../framework/report/page/settings.mjs";

const group = (setting, fd, more = {}) => ({ setting, cell: JSON.stringify(setting), metrics: { fd: { mean: fd, n: 1, of: 1 } }, ...more });
const pageOf = (groups, more = {}) => ({
  rows: [{ loss: "cm" }],
  statistics: { groups, differences: [] },
  settings: [{ key: "train_steps", title: "trained steps" }, { key: "student_steps", title: "sampler steps" },
    { key: "guidance", title: "guidance" }, { key: "ema_length", title: "EMA" }],
  columns: ["fd"], costs: [{ key: "teacher_evaluations", title: "teacher evaluations" }], plot: ["fd"], ...more,
});
const measure = { metric: "fd" };

test("a setting is named by what differs, and by nothing else", () => {
  const { groups, nameOf, swept } = readSettings(pageOf([
    group({ "loss.type": "cm", "solver.type": "heun", "train.learning_rate": 1e-3 }, 1),
    group({ "loss.type": "cm", "solver.type": "euler", "train.learning_rate": 1e-3 }, 2),
  ]));
  assert.deepEqual(swept, ["solver.type"]);
  assert.deepEqual(groups.map(g => nameOf(g.setting)), ["heun", "euler"]);
});

test("a key is called by its last part, or whole where two would be called the same", () => {
  const { short } = readSettings(pageOf([group({ "loss.type": "cm", "a.width": 1, "b.width": 2, "train.learning_rate": 1 }, 1)]));
  assert.equal(short("loss.type"), "loss");
  assert.equal(short("train.learning_rate"), "learning rate");
  assert.equal(short("a.width"), "a.width");
});

test("nothing differs: the loss is the name", () => {
  const { groups, nameOf } = readSettings(pageOf([group({ train_steps: 10 }, 1)]));
  assert.equal(nameOf(groups[0].setting), "cm");
});

test("a line is one setting over its training and its sampler steps", () => {
  const { lines, ownColors } = readSettings(pageOf([
    group({ "loss.type": "cm", train_steps: 10, student_steps: 1 }, 4), group({ "loss.type": "cm", train_steps: 20, student_steps: 2 }, 3),
    group({ "loss.type": "direct_cm", train_steps: 20, student_steps: 1 }, 5),
  ]));
  assert.deepEqual(lines.map(l => [l.name, l.last, l.groups.length]), [["cm", 20, 2], ["direct_cm", 20, 1]]);
  assert.ok(ownColors);
});

test("more settings than colours: none has a colour of its own", () => {
  const many = readSettings(pageOf(Array.from({ length: 30 }, (_, i) => group({ "train.seed": i }, i))));
  assert.ok(!many.ownColors);
});

test("a line over a number takes the end of training alone, in order", () => {
  const settings = readSettings(pageOf([
    group({ "schedule.steps": 8, train_steps: 20, student_steps: 1 }, 3), group({ "schedule.steps": 4, train_steps: 20, student_steps: 1 }, 5),
    group({ "schedule.steps": 8, train_steps: 10, student_steps: 1 }, 9), group({ "schedule.steps": 8, train_steps: 20, student_steps: 2 }, 7),
  ]));
  const [line, ...others] = linesOver(settings, "schedule.steps", measure, 1);
  assert.deepEqual(line.data.map(p => [p.x, p.y]), [[4, 5], [8, 3]]);
  assert.equal(others.length, 0);
  const overTraining = linesOver(settings, "train_steps", measure, 1).find(l => l.data.length === 2);
  assert.deepEqual(overTraining.data.map(p => [p.x, p.y]), [[10, 9], [20, 3]]);
});

test("the best stands first, at each value", () => {
  const { groups, measured } = readSettings(pageOf([
    group({ "solver.type": "a", "schedule.steps": 8 }, 3), group({ "solver.type": "b", "schedule.steps": 8 }, 1),
    group({ "solver.type": "a", "schedule.steps": 4 }, 5), group({ "solver.type": "c" }, 0),
  ]));
  const { at, ranked } = ranking(groups, measured, "schedule.steps", measure, false);
  assert.deepEqual(at, [4, 8]);
  assert.deepEqual(ranked[1].map(g => g.setting["solver.type"]), ["b", "a"]);
  assert.deepEqual(ranking(groups, measured, "schedule.steps", measure, true).ranked[1].map(g => g.setting["solver.type"]), ["a", "b"]);
});

test("a measure that is no number is not measured; a cost is read beside it", () => {
  const { groups, measured, inGroups } = readSettings(pageOf([
    group({ a: 1 }, null, { teacher_evaluations: 64 }), group({ a: 2 }, 1.5, { teacher_evaluations: 32 })]));
  assert.equal(measured(groups[0], measure), undefined);
  assert.equal(measured(groups[0], { cost: "teacher_evaluations" }).mean, 64);
  assert.deepEqual(inGroups, ["fd"]);
});
