/** Signals while the configuration is awaited, and a stdout that takes nothing. */
import { spawnSync } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { binDirectory, callEnvironment, type Netns, Sandbox } from "../../testbed/harness.ts";
import { PLUGINS, start, traces, validCall } from "./fixtures.ts";
import { awaitsInput } from "./sleep.ts";

let sandbox: Sandbox;
let pod: Netns;

beforeAll(async () => {
  sandbox = await Sandbox.create();
  pod = await sandbox.pod();
});

afterAll(async () => {
  await sandbox.remove();
});

describe.each(PLUGINS)("%s waiting for stdin", (plugin) => {
  test.each(["SIGTERM", "SIGINT", "SIGHUP"] as const)("%s: an error object of code 11 [CODE-11]", async (signal) => {
    const options = { ...validCall(plugin, "ADD", sandbox, pod), inside: sandbox.host };
    const running = start(options, callEnvironment(options, binDirectory));
    running.write('{"cniVersion":');
    await awaitsInput(running.pid);
    running.kill(signal);
    const result = await running.done;
    expect(result).toMatchObject({ exitCode: 1, signal: null });
    expect(JSON.parse(result.stdout)).toMatchObject({ code: 11, cniVersion: "1.1.0" });
  });

  test.each(["SIGABRT", "SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL"] as const)(
    "%s, a defect: an error object all the same",
    async (signal) => {
      const options = { ...validCall(plugin, "ADD", sandbox, pod), inside: sandbox.host };
      const running = start(options, callEnvironment(options, binDirectory));
      await awaitsInput(running.pid);
      running.kill(signal);
      const result = await running.done;
      expect(result).toMatchObject({ exitCode: 1, signal: null });
      expect(JSON.parse(result.stdout)).toEqual({
        cniVersion: "1.1.0",
        code: 999,
        msg: "internal error: the plugin crashed",
        details: "this is a defect of Podwire: please report it with the configuration",
      });
    },
  );
});

describe("a stdout that takes nothing", () => {
  const addTo = (stdout: number | "ignore", containerId: string) => {
    const options = { ...validCall("host-local", "ADD", sandbox, pod), containerId };
    return spawnSync(join(binDirectory, "host-local"), [], {
      input: JSON.stringify(options.config),
      env: callEnvironment(options, binDirectory),
      stdio: ["pipe", stdout, "pipe"],
      timeout: 10_000,
    });
  };

  test("a full disk: the ADD fails and keeps no lease", async () => {
    const full = openSync("/dev/full", "w");
    try {
      expect(addTo(full, "full")).toMatchObject({ status: 1, signal: null });
    } finally {
      closeSync(full);
    }
    expect((await traces(sandbox, pod)).filter((trace) => /\/10\.123\./.test(trace))).toEqual([]);
  });

  test("a reader that is gone: the ADD fails and keeps no lease", async () => {
    const options = { ...validCall("host-local", "ADD", sandbox, pod), containerId: "gone" };
    const result = spawnSync(
      "/bin/sh",
      ["-c", '{ sleep 0.2; "$0"; echo $? >&2; } | true', join(binDirectory, "host-local")],
      {
        input: JSON.stringify(options.config),
        env: callEnvironment(options, binDirectory),
        timeout: 10_000,
        encoding: "utf8",
      },
    );
    expect(result.stderr.trim()).toBe("1");
    expect((await traces(sandbox, pod)).filter((trace) => /\/10\.123\./.test(trace))).toEqual([]);
  });
});

describe("standard streams that are closed", () => {
  /** Runs host-local through a shell that closes something, and returns its exit status and what it printed. */
  const addWith = (redirection: string, containerId: string) => {
    const options = { ...validCall("host-local", "ADD", sandbox, pod), containerId };
    return spawnSync("/bin/sh", ["-c", `"$0" ${redirection}; exit $?`, join(binDirectory, "host-local")], {
      input: JSON.stringify(options.config),
      env: callEnvironment(options, binDirectory),
      timeout: 10_000,
      encoding: "utf8",
    });
  };

  test("stdout: the ADD fails, and what it opens is not taken for stdout", async () => {
    expect(addWith(">&-", "no-stdout")).toMatchObject({ status: 1, signal: null });
    expect((await traces(sandbox, pod)).filter((trace) => /\/10\.123\./.test(trace))).toEqual([]);
    const files = await readdir(sandbox.directory, { recursive: true, withFileTypes: true });
    for (const file of files.filter((entry) => entry.isFile())) {
      expect(await readFile(join(file.parentPath, file.name), "utf8")).not.toContain("cniVersion");
    }
  });

  test("stdin: code 5 [CODE-5]", () => {
    const result = addWith("<&-", "no-stdin");
    expect(result.status).toBe(1);
    expect(JSON.parse(result.stdout)).toMatchObject({
      code: 5,
      msg: expect.stringMatching(/^error reading from stdin: /),
    });
  });

  test("stderr: no matter", async () => {
    const result = addWith("2>&-", "no-stderr");
    expect(result.status, result.stdout).toBe(0);
    await sandbox.call({ ...validCall("host-local", "DEL", sandbox, pod), containerId: "no-stderr" });
  });

  test("a stdin that cannot be read: code 5", () => {
    const result = addWith("</", "directory");
    expect(result.status).toBe(1);
    expect(JSON.parse(result.stdout)).toMatchObject({
      code: 5,
      msg: expect.stringMatching(/^error reading from stdin: /),
    });
  });
});
