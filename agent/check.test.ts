import { expect, it } from "vitest";
import { judgement } from "./check.ts";

const NOW = 1_764_500_000_000;
const WRITTEN = '{"written":"2026-11-30T12:00:00.000Z","problem":""}';

it.each([
  [WRITTEN, true, ""],
  [`{"written":"x","writtenMs":${NOW - 300_000},"problem":""}`, true, ""],
  [`{"written":"then","writtenMs":${NOW - 700_000},"problem":""}`, true, "the agent has not looked since then"],
  [WRITTEN, false, "the agent does not run"],
  [null, true, "the agent has not written its status yet"],
  ["", true, "the agent's status cannot be read: "],
  ["[]", true, "the agent's status cannot be read"],
  ['{"problem":""}', true, "the agent's status cannot be read"],
  ['{"written":"x","problem":"one\\ntwo"}', true, "one two"],
])("judgement(%j, %j)", (status, isRunning, expected) => {
  expect(judgement(status, isRunning, NOW).slice(0, expected === "" ? undefined : expected.length)).toBe(expected);
});
