/** `make install` on a node in use: never half a file, never a busy one, nobody else's plugins touched. */
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { afterEach, beforeEach, expect, test } from "vitest";
import { binDirectory, call, repository } from "../testbed/harness.ts";

const RESULT_VERSION = { cniVersion: "1.1.0" };
let root = "";
let target = "";
let names: string[] = [];

/** make, as a person calls it: not as the child of the make that may be running these tests. */
async function make(...parameters: string[]): Promise<string> {
  const env = { MAKEFLAGS: "", MAKELEVEL: "", MFLAGS: "" };
  return (await execa("make", ["--no-print-directory", ...parameters], { cwd: repository, env })).stdout;
}

/** The step of `make install` that follows the build. */
async function install(): Promise<void> {
  await execa(join(repository, "hack/install.sh"), [binDirectory, target, ...names]);
}

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "podwire-install-"));
  target = join(root, "opt/cni/bin");
  names = (await make("-s", "plugins")).trim().split(" ");
});

afterEach(() => rm(root, { recursive: true, force: true }));

test("installs every plugin as a hard link of one file and leaves other plugins alone", async () => {
  await mkdir(target, { recursive: true });
  await writeFile(join(target, "foreign"), "another project's plugin", { mode: 0o755 });
  await writeFile(join(target, "bridge"), "the plugin that was here before", { mode: 0o755 });
  const before = await stat(join(target, "foreign"));

  const printed = await make("install", `DESTDIR=${root}`);

  expect(printed).toContain(`installed in ${target}: ${names.join(" ")}`);
  expect((await readdir(target)).sort()).toEqual([...names, "foreign"].sort());
  const files = await Promise.all(names.map((name) => stat(join(target, name))));
  expect(new Set(files.map((file) => file.ino)).size).toBe(1);
  expect(files.map((file) => [file.nlink, file.mode & 0o7777])).toEqual(names.map(() => [names.length, 0o755]));
  const after = await stat(join(target, "foreign"));
  expect([after.ino, after.mtimeMs]).toEqual([before.ino, before.mtimeMs]);
  expect(await readFile(join(target, "foreign"), "utf8")).toBe("another project's plugin");
  for (const plugin of names) {
    const result = await call({ plugin, command: "VERSION", bin: target });
    expect(result.json).toMatchObject(RESULT_VERSION);
  }
});

test("replaces a plugin that is running; the running one finishes its call", async () => {
  await install();
  const before = await stat(join(target, "loopback"));
  const env = { CNI_COMMAND: "DEL", CNI_CONTAINERID: "x", CNI_IFNAME: "lo", CNI_PATH: target };
  const running = execa(join(target, "loopback"), { env, extendEnv: false, stdin: "pipe", reject: false });
  await expect.poll(() => readFile(`/proc/${running.pid}/comm`, "utf8")).toBe("loopback\n");

  await install();

  expect((await stat(join(target, "loopback"))).ino).not.toBe(before.ino);
  running.stdin.end(JSON.stringify({ cniVersion: "1.1.0", name: "lo", type: "loopback" }));
  expect((await running).exitCode).toBe(0);
});

test("a call at any moment of an installation finds a whole plugin", async () => {
  await install();
  let installing = true;
  const installations = (async () => {
    for (let round = 0; round < 10; round += 1) await install();
    installing = false;
  })();
  let calls = 0;
  while (installing) {
    const result = await call({ plugin: "bridge", command: "VERSION", bin: target });
    expect(result.exitCode, result.stderr).toBe(0);
    calls += 1;
  }
  await installations;
  expect(calls).toBeGreaterThan(10);
});
