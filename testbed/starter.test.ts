/** What the black-box tests rest on: programs end as they end, and say what they say. */
import { expect, test } from "vitest";
import { type Execution, execute } from "./starter.ts";

const shell = (script: string, stdin: string | Uint8Array = "", timeoutMs = 20_000): Promise<Execution> =>
  execute({ file: "/bin/sh", args: ["-c", script], env: { PATH: "/usr/bin:/bin" }, stdin, timeoutMs, cwd: "/" });

const done = (more: Partial<Execution>): Execution => ({ exitCode: 0, signal: null, stdout: "", stderr: "", ...more });

test("status, output and errors are the program's own", async () => {
  expect(await shell("echo out; echo err >&2; exit 3")).toEqual(
    done({ exitCode: 3, stdout: "out\n", stderr: "err\n" }),
  );
});

test("it gets the environment, the directory and the bytes that were given, nothing else", async () => {
  expect(await shell("env; pwd; cat", "all")).toEqual(done({ stdout: "PATH=/usr/bin:/bin\nPWD=/\n/\nall" }));
  expect(await shell("od -An -tx1", Uint8Array.of(0, 10, 255))).toEqual(done({ stdout: " 00 0a ff\n" }));
});

test("large and many at once come out whole", async () => {
  const sizes = [0, 1, 70_000, 3_000_000];
  const texts = [...sizes, ...sizes].map((size, i) => String(i).repeat(size));
  expect(await Promise.all(texts.map((text) => shell("cat", text)))).toEqual(
    texts.map((text) => done({ stdout: text })),
  );
});

test("a program that reads nothing is no failure", async () => {
  expect(await shell("exit 0", "x".repeat(1_000_000))).toEqual(done({}));
});

test("a signal is told by name", async () => {
  expect(await shell("kill -ABRT $$")).toEqual(done({ exitCode: null, signal: "SIGABRT" }));
});

test("one that takes too long is ended, with SIGKILL if it does not heed SIGTERM", async () => {
  expect(await shell("exec sleep 60", "", 100)).toEqual(done({ exitCode: null, signal: "SIGTERM" }));
  expect(await shell("trap '' TERM; while :; do read line; done < /dev/zero", "", 100)).toEqual(
    done({ exitCode: null, signal: "SIGKILL" }),
  );
});

test("what cannot be started says why", async () => {
  const none = await execute({ file: "/nowhere", args: [], env: {}, stdin: "", timeoutMs: 1000, cwd: "/" });
  expect(none).toMatchObject({ exitCode: null, signal: null, stderr: expect.stringMatching(/No such file|ENOENT/) });
  const nul = await execute({ file: "/bin/echo", args: ["a\0b"], env: {}, stdin: "", timeoutMs: 1000, cwd: "/" });
  expect(nul).toMatchObject({ exitCode: null, signal: null, stderr: expect.stringContaining("null") });
});
