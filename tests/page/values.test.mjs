// How values are written and ordered.
import assert from "node:assert/strict";
import { test } from "node:test";
import { brief, cut, distinct, exact, finite, get, grouped, least, most, order, plural, pretty, range, same, show, without } from
  "../../framework/page/values.mjs";

test("a measure is rounded, what is missing and what is no number are told apart", () => {
  assert.equal(show(undefined), "–");
  assert.equal(show(null), "NaN");
  assert.equal(show(0), "0");
  assert.equal(show(12), "12");
  assert.equal(show(1234567), "1,234,567");
  assert.equal(show(0.123456), "0.1235");
  assert.equal(show(-12.3456), "-12.3");
  assert.equal(show(1234.5), "1,235");
  assert.equal(show(0.00012345), "1.2e-4");
  assert.equal(show(1e300), "1.0e+300");
  assert.equal(show("heun"), "heun");
});

test("a setting is written whole, so that two never look the same", () => {
  assert.equal(exact(0.000123), "0.000123");
  assert.notEqual(exact(0.000123), exact(0.0001234));
  assert.equal(exact(10000), "10,000");
  assert.equal(exact([1, 2]), "[1,2]");
  assert.equal(exact(null), "–");
});

test("numbers come before words, and what is missing stays last whichever way one sorts", () => {
  const values = ["b", 2, undefined, 10, null, "a"];
  assert.deepEqual([...values].sort((a, b) => order(a, b, false)), [2, 10, "a", "b", null, undefined]);
  assert.deepEqual([...values].filter(v => v !== undefined).sort((a, b) => order(a, b, true)), [10, 2, "b", "a", null]);
  assert.ok(order(undefined, 1, true) > 0);
});

test("long names are cut between characters", () => {
  assert.equal(cut("abc", 3), "abc");
  assert.equal(cut("abcd", 3), "ab…");
  assert.equal(cut("🙂🙂🙂🙂", 3), "🙂🙂…");
});

test("figures of a map are short", () => {
  assert.equal(brief(0.012345), "0.012");
  assert.equal(brief(123.4), "123");
  assert.equal(brief(-2.5e7), "-2.5e+7");
});

test("collections", () => {
  assert.deepEqual(distinct([1, "1", [1], 1, [1]]), [1, "1", [1]]);
  assert.deepEqual(without({ a: 1, b: 2, c: 3 }, "a", "c", undefined), { b: 2 });
  assert.ok(same({ a: [1] }, { a: [1] }) && !same(1, "1"));
  assert.equal(get(null, "a"), undefined);
  assert.equal(get({}, "constructor"), undefined);
  assert.equal(most([1, 3, 2], -Infinity), 3);
  assert.equal(least([], 7), 7);
  assert.equal(most(Array.from({ length: 300000 }, (_, i) => i), 0), 299999);
  assert.ok(finite(1) && !finite(NaN) && !finite("1"));
  assert.equal(grouped(1234), "1,234");
  assert.equal(plural(1, "seed") + plural(2, " seed"), "1 seed2  seeds");
  assert.equal(pretty("ode_error"), "ode error");
});

test("one value has no interval", () => {
  assert.equal(range({ n: 1, low: 1, high: 2 }), undefined);
  assert.deepEqual(range({ n: 5, low: 1, high: 2 }), [1, 2]);
});
