/**
 * The machine must be after a test run as it was before: links, network namespaces, firewall rules and an overlay's entries
 * of the machine's own namespace are compared, and what plugins keep on tmpfs, and a difference fails the run.
 */
import { removeStale } from "./harness.ts";
import { type MachineState, machineState, stateDifferences } from "./machine.ts";
import { countOutsideFailure } from "./summary-reporter.ts";

let before: MachineState;

export async function setup(): Promise<void> {
  await removeStale();
  before = await machineState();
}

export async function teardown(): Promise<void> {
  const differences = stateDifferences(before, await machineState());
  if (differences.length === 0) return;
  const text = `the test run changed the machine:\n${differences.map((line) => `  ${line}`).join("\n")}`;
  if (process.env.PODWIRE_SHARED_MACHINE === "1") {
    console.warn(`${text}\n  (not a failure: PODWIRE_SHARED_MACHINE=1 says that others work on this machine too)`);
    return;
  }
  countOutsideFailure();
  process.exitCode = 1;
  throw new Error(text);
}
