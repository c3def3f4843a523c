/** Short ways to call ptp in the bridge suites' laboratory. */
import { expect } from "vitest";
import { expectSuccess, type JsonObject, type Netns } from "../../testbed/harness.ts";
import type { Lab, LabOptions } from "./bridge-lab.ts";

export const DUAL = {
  ips: [
    { address: "10.77.0.5/24", gateway: "10.77.0.1" },
    { address: "fd77::5/64", gateway: "fd77::1" },
  ],
  routes: [{ dst: "0.0.0.0/0" }, { dst: "::/0" }],
};

const PTP = { type: "ptp", bridge: undefined };

export function run(lab: Lab, verb: string, pod: Netns, extra: JsonObject = {}, options: LabOptions = {}) {
  return lab.run(verb, pod, { ...PTP, ...extra }, { plugin: "ptp", lease: DUAL, ...options });
}

export async function add(lab: Lab, pod: Netns, extra: JsonObject = {}, options: LabOptions = {}): Promise<JsonObject> {
  return expectSuccess(await run(lab, "ADD", pod, extra, options));
}

export async function del(lab: Lab, pod: Netns, extra: JsonObject = {}, options: LabOptions = {}): Promise<void> {
  const result = await run(lab, "DEL", pod, extra, options);
  expect(result.stdout).toBe("");
  expectSuccess(result);
}

export const check = (lab: Lab, pod: Netns, prevResult: JsonObject, extra: JsonObject = {}, options: LabOptions = {}) =>
  run(lab, "CHECK", pod, { prevResult, ...extra }, options);

export const hostEnd = (result: JsonObject): string => String((result.interfaces as JsonObject[])[0]?.name);

/** Of another pod. */
export const LEASE6 = {
  ...DUAL,
  ips: [
    { address: "10.77.0.6/24", gateway: "10.77.0.1" },
    { address: "fd77::6/64", gateway: "fd77::1" },
  ],
};
