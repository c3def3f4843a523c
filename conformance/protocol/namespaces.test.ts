/** CNI_NETNS: the plugin's own namespace is refused before any work, and what is no namespace is named. */
import { execFile } from "node:child_process";
import { mkdir, symlink, unlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { expectError, expectSuccess, Netns, Sandbox, versionsFrom } from "../../testbed/harness.ts";
import { PLUGINS, traces, validCall, validConfig } from "./fixtures.ts";

const run = promisify(execFile);
const SAME = "plugin's netns and netns from CNI_NETNS should not be the same";

let sandbox: Sandbox;
let pod: Netns;

beforeAll(async () => {
  sandbox = await Sandbox.create();
  pod = await sandbox.pod();
});

afterAll(async () => {
  await sandbox.remove();
});

describe.each(PLUGINS)("%s in the plugin's own namespace", (plugin) => {
  test.each(versionsFrom("0.1.0"))(
    "%s: ADD, CHECK and DEL are refused with one document and nothing done",
    async (version) => {
      const before = await traces(sandbox, pod);
      const config = validConfig(plugin, version, sandbox);
      for (const command of version < "0.4.0" ? ["ADD", "DEL"] : ["ADD", "CHECK", "DEL"]) {
        const result = await sandbox.call({
          ...validCall(plugin, command, sandbox, pod),
          config,
          netns: sandbox.host.path,
        });
        expectError(result, { code: 8, msg: SAME, cniVersion: version });
      }
      expect(await traces(sandbox, pod)).toEqual(before);
    },
  );

  test("under any path to it", async () => {
    const link = join(sandbox.directory, `bin-link-${plugin}`);
    await symlink(sandbox.host.path, link);
    for (const netns of [
      "/proc/self/ns/net",
      "/proc/thread-self/ns/net",
      link,
      `/run/../run/netns/${sandbox.host.name}`,
    ]) {
      const result = await sandbox.call({ ...validCall(plugin, "ADD", sandbox, pod), netns });
      expectError(result, { code: 8, msg: SAME });
    }
    await unlink(link);
  });

  test.each(["0", "no", ""])("CNI_NETNS_OVERRIDE=%s does not allow it", async (override) => {
    const result = await sandbox.call({
      ...validCall(plugin, "ADD", sandbox, pod),
      netns: sandbox.host.path,
      env: { CNI_NETNS_OVERRIDE: override },
    });
    expectError(result, { code: 8, msg: SAME });
  });
});

test.each(["1", "true", "TRUE"])("CNI_NETNS_OVERRIDE=%s allows it", async (override) => {
  const env = { CNI_NETNS_OVERRIDE: override };
  const options = { ...validCall("loopback", "ADD", sandbox, pod), netns: sandbox.host.path, env };
  expect(expectSuccess(await sandbox.call(options))).toMatchObject({ cniVersion: "1.1.0" });
});

describe.each(["bridge", "loopback", "vxlan-overlay"] as const)(
  "%s with a CNI_NETNS that is no namespace",
  (plugin) => {
    const cases = [
      "a missing file",
      "a plain file",
      "a directory",
      "a FIFO",
      "a dead namespace",
      "a device",
      "another kind of namespace",
    ];

    async function pathFor(name: string): Promise<string> {
      const path = join(sandbox.directory, `bin-${plugin}-${name.replaceAll(" ", "-")}`);
      if (name === "a plain file") await writeFile(path, "");
      else if (name === "a directory") await mkdir(path);
      else if (name === "a FIFO") await run("mkfifo", [path]);
      else if (name === "a device") return "/dev/null";
      else if (name === "another kind of namespace") return "/proc/self/ns/mnt";
      else if (name === "a dead namespace") {
        const dead = await Netns.create("dead");
        await dead.remove();
        return dead.path;
      }
      return path;
    }

    test.each(cases)("%s: ADD fails with code 8 and leaves nothing [PARAM-3]", async (name) => {
      const netns = await pathFor(name);
      const before = await traces(sandbox, pod);
      for (const command of ["ADD", "CHECK"]) {
        const config: Record<string, unknown> = validConfig(plugin, "1.1.0", sandbox);
        if (command === "CHECK")
          config.prevResult = { cniVersion: "1.1.0", interfaces: [{ name: "eth0", sandbox: netns }] };
        const result = await sandbox.call({
          ...validCall(plugin, command, sandbox, pod),
          config,
          netns,
          timeoutMs: 5000,
        });
        expectError(result, { code: 8 });
        expect(String(result.json?.msg)).toContain(netns.slice(0, 40));
      }
      expect(await traces(sandbox, pod)).toEqual(before);
    });

    test.each(cases)("%s: DEL succeeds all the same [DEL-2 DEL-8]", async (name) => {
      const netns = `${await pathFor(`${name}`).catch(() => join(sandbox.directory, `bin-${plugin}-${name.replaceAll(" ", "-")}`))}`;
      const before = await traces(sandbox, pod);
      const result = await sandbox.call({ ...validCall(plugin, "DEL", sandbox, pod), netns, timeoutMs: 5000 });
      expectSuccess(result);
      expect(result.stdout).toBe("");
      expect(await traces(sandbox, pod)).toEqual(before);
    });

    test("DEL without CNI_NETNS succeeds", async () => {
      const { netns: _netns, ...options } = validCall(plugin, "DEL", sandbox, pod);
      expect(await sandbox.call(options)).toMatchObject({ exitCode: 0, stdout: "" });
      expect(await sandbox.call({ ...options, netns: "" })).toMatchObject({ exitCode: 0, stdout: "" });
    });
  },
);
