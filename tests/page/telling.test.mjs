// What the page of all runs says of one.
import assert from "node:assert/strict";
import { test } from "node:test";
import { ago, headline, marksIn, measureOf, progressOf, rowName, shownMeasures } from "../../framework/serve/page/telling.mjs";

test("times are in the unit that fits", () => {
  assert.equal(ago(-3), "0 s ago");
  assert.equal(ago(59), "59 s ago");
  assert.equal(ago(60), "1 min ago");
  assert.equal(ago(7200), "2 h ago");
  assert.equal(ago(86400 * 400), "400 d ago");
});

const run = { kind: "run", rows: [{ student_steps: 4, metrics: { fd: 2 } }, { student_steps: 1, metrics: { fd: 5, recall: 0.5 } }] };

test("the student in fewest steps stands for a run, and none for a sweep", () => {
  assert.equal(headline(run).student_steps, 1);
  assert.equal(measureOf(run, "fd"), 5);
  assert.equal(measureOf(run, "kid"), undefined);
  assert.equal(headline({ ...run, kind: "sweep" }), undefined);
  assert.deepEqual(shownMeasures([run, { kind: "run", rows: [] }]), ["fd", "recall"]);
});

test("progress is in cells of a sweep, in steps of a run", () => {
  assert.equal(progressOf({ kind: "sweep", cells: { done: 2, stopped: 1, open: 3 } }), "3 of 6 cells");
  assert.equal(progressOf({ kind: "sweep", cells: {} }), "–");
  assert.equal(progressOf({ kind: "run", cells: {}, step: 1500, steps: 3000 }), "1,500 of 3,000 steps");
  assert.equal(progressOf({ kind: "run", cells: {} }), "–");
});

test("a row is named by what it differs in", () => {
  assert.equal(rowName({ student_steps: 1 }), "1 sampler step");
  assert.equal(rowName({ cell: "cm", student_steps: 2, guidance: 1.5, ema_length: 0.1 }), "cm, 2 sampler steps, guidance 1.5, average 0.1");
});

test("an address that somebody broke is read as far as it goes", () => {
  assert.deepEqual(marksIn("#a%20b&c"), ["a b", "c"]);
  assert.deepEqual(marksIn("#%E0%A4%A&c"), ["c"]);
  assert.deepEqual(marksIn(""), []);
});
