/**
 * A test run must leave nothing of its own on the machine, and touch nothing of Podwire's there: links, network namespaces,
 * firewall rules and an overlay's entries of the machine's own namespace are compared, and what plugins keep on tmpfs. Such a
 * difference fails the run. What others did to the machine meanwhile is told, and is no failure.
 */
import { restrictPath } from "../hack/programs/list.ts";
import { type MachineState, machineState, stateDifferences } from "../testbed/machine.ts";
import { removeStale } from "../testbed/netns.ts";
import { countOutsideFailure } from "./summary-reporter.ts";

let before: MachineState;
let freePath: () => Promise<void>;

export async function setup(): Promise<void> {
  await removeStale();
  freePath = await restrictPath(process.env.PODWIRE_GUEST === undefined ? ["test"] : ["test", "kernels"]);
  before = await machineState();
}

export async function teardown(): Promise<void> {
  const { ours, others } = stateDifferences(before, await machineState());
  await freePath();
  const list = (lines: readonly string[]) => lines.map((line) => `  ${line}`).join("\n");
  if (others.length > 0)
    console.warn(`not a failure: others changed the machine during the test run:\n${list(others)}`);
  if (ours.length === 0) return;
  const text = `the test run changed the machine:\n${list(ours)}`;
  if (process.env.PODWIRE_SHARED_MACHINE === "1") {
    console.warn(
      `${text}\n  (not a failure: PODWIRE_SHARED_MACHINE=1 says that Podwire is at work on this machine too)`,
    );
    return;
  }
  countOutsideFailure();
  process.exitCode = 1;
  throw new Error(text);
}
