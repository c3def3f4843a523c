/** The agent's loop (lib/loop) with real descriptors, signals and files: testbed/probes/loop-driver has it do things. */
import { once } from "node:events";
import { mkdir, mkdtemp, rename, rm, rmdir, unlink, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { probe } from "./probes.ts";

let root = "";

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "podwire-loop-"));
});

afterEach(() => rm(root, { recursive: true, force: true }));

/** Runs the driver to its end, and returns its lines. */
async function lines(...list: string[]): Promise<string[]> {
  const { stdout, stderr } = await execa(probe("loop-driver"), list, { timeout: 30_000 });
  expect(stderr).toBe("");
  return stdout.split("\n");
}

/** A driver that runs on, and what it has said so far. */
function started(...list: string[]) {
  const running = execa(probe("loop-driver"), list, { timeout: 30_000, reject: false });
  const said: string[] = [];
  running.stdout.on("data", (data: Buffer) => said.push(...data.toString().trimEnd().split("\n")));
  const hasSaid = (line: string) => expect.poll(() => said, { timeout: 10_000 }).toContain(line);
  return { running, said, hasSaid };
}

test("timers: in order, moved, cancelled, set by others", async () => {
  expect(await lines("timers")).toEqual(["first", "cancels", "after first", "moved", "last"]);
});

test("a descriptor that is unwatched while events are delivered gets none", async () => {
  expect(await lines("pairs")).toEqual(["one 1"]);
});

describe("a directory", () => {
  test("tells the names of files that are made, written, moved and removed", async () => {
    const { running, said, hasSaid } = started("watch", root);
    await hasSaid("ready");
    const [a, b] = [join(root, "a"), join(root, "b ü")];
    await writeFile(a, "x");
    await hasSaid("changed a");
    await rename(a, b);
    await hasSaid("changed b ü");
    said.length = 0;
    await unlink(b);
    await hasSaid("changed b ü");
    running.kill("SIGTERM");
    expect((await running).exitCode).toBe(0);
    expect(said.at(-1)).toBe("signal 15");
  });

  test("tells that it is gone, once", async () => {
    const inner = join(root, "inner");
    await mkdir(inner);
    const { running, said, hasSaid } = started("watch", inner);
    await hasSaid("ready");
    await rmdir(inner);
    await hasSaid("gone");
    running.kill("SIGTERM");
    await running;
    expect(said).toEqual(["ready", "gone", "signal 15"]);
  });

  test("must be there", async () => {
    const { exitCode, stderr } = await execa(probe("loop-driver"), ["watch", join(root, "none")], { reject: false });
    expect([exitCode === 0, stderr]).toEqual([false, expect.stringContaining("none: no such file or directory")]);
  });
});

test("signals are events: they do not interrupt, and end nothing by themselves", async () => {
  const { running, said, hasSaid } = started("watch", root);
  await hasSaid("ready");
  for (const [signal, number] of [
    ["SIGHUP", 1],
    ["SIGINT", 2],
    ["SIGTERM", 15],
  ] as const) {
    running.kill(signal);
    await hasSaid(`signal ${number}`);
  }
  expect((await running).exitCode).toBe(0);
  expect(said).toEqual(["ready", "signal 1", "signal 2", "signal 15"]);
});

test("it sleeps while nothing happens", async () => {
  const { running, hasSaid } = started("watch", root);
  await hasSaid("ready");
  const { stdout } = await execa("cat", [`/proc/${running.pid}/wchan`], { reject: false });
  running.kill("SIGTERM");
  await running;
  expect(stdout).toMatch(/poll|^0?$/);
});

test("takes connections", async () => {
  const port = 20_000 + (process.pid % 20_000);
  const { running, hasSaid } = started("serve", `${port}`);
  await hasSaid("ready");
  for (let round = 0; round < 3; round += 1) {
    const socket = connect(port, "127.0.0.1");
    const [data] = (await once(socket, "data")) as [Buffer];
    expect(data.toString()).toBe("hello");
    socket.destroy();
  }
  running.kill("SIGTERM");
  await running;
});

test("addresses are looked up as they are written, and names by /etc/hosts", async () => {
  expect(await lines("lookup", "192.0.2.1")).toEqual(["020001bbc00002010000000000000000"]);
  expect(await lines("lookup", "2001:db8::1")).toEqual([`0a0001bb0000000020010db8${"00".repeat(11)}0100000000`]);
  expect((await lines("lookup", "localhost")).join(" ")).toContain("020001bb7f000001");
  expect(await lines("lookup", "a b")).toEqual(["cannot look up a b: no such host"]);
});

test("a crash says so on standard error, and the signal ends the process", async () => {
  const { signal, stdout, stderr } = await execa(probe("loop-driver"), ["crash"], { reject: false });
  expect([signal, stdout]).toEqual(["SIGABRT", ""]);
  expect(stderr.split("\n")).toEqual([
    expect.stringContaining("out of bounds"),
    "podwire-agent: crashed; this is a defect of Podwire, please report it with what is above",
  ]);
});
