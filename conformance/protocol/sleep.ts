/** Waiting until a process sleeps in a system call: what it does before takes many times longer on an emulated machine. */
import { readFileSync } from "node:fs";
import { expect } from "vitest";
import { patience, until } from "../../testbed/harness.ts";

/* The numbers of read, write and poll, or ppoll where there is no poll. */
const READ = process.arch === "arm64" ? 63 : 0;
export const WRITE = process.arch === "arm64" ? 64 : 1;
export const POLL = process.arch === "arm64" ? 73 : 7;

/** Waits until a process sleeps in one of these system calls (/proc/PID/syscall). */
export async function sleepsIn(pid: number | undefined, ...calls: readonly number[]): Promise<void> {
  const look = () => calls.includes(Number(sleepOf(pid)[0]));
  expect(await until(look, 20_000 * patience), `process ${pid} does not sleep there`).toBe(true);
}

/** Waits until a process waits for its standard input. */
export async function awaitsInput(pid: number): Promise<void> {
  const look = () => {
    const [call, descriptor] = sleepOf(pid);
    return Number(call) === READ && Number(descriptor) === 0;
  };
  expect(await until(look, 20_000 * patience), `process ${pid} does not read its input`).toBe(true);
}

/** Number and arguments of the system call that a process sleeps in; nothing of use if it does not sleep. */
function sleepOf(pid: number | undefined): string[] {
  try {
    return readFileSync(`/proc/${pid}/syscall`, "utf8").split(" ");
  } catch {
    return [];
  }
}
