/** Delegation through the bridge's `ipam.type`: how a delegate is found and started, and what its answers become. */
import { chmod, mkdir, open, readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import {
  binDirectory,
  type CallOptions,
  type CallResult,
  expectError,
  type Netns,
  Sandbox,
  VERSIONS,
} from "../../testbed/harness.ts";
import { start, traces } from "./fixtures.ts";

let sandbox: Sandbox;
let pod: Netns;
let serial = 0;
let containerId = "";

beforeAll(async () => {
  sandbox = await Sandbox.create();
  pod = await sandbox.pod();
});

beforeEach(() => {
  serial += 1;
  containerId = `delegation-${serial}`;
});

afterAll(async () => {
  await sandbox.remove();
});

/** A configuration of the bridge with a delegate. */
function config(type: unknown, version = "1.1.0"): Record<string, unknown> {
  return {
    cniVersion: version,
    name: "pwt-delegation",
    type: "bridge",
    bridge: "pwt0",
    ipam: { type, dataDir: sandbox.dataDir },
  };
}

async function bridge(command: string, options: Partial<CallOptions>): Promise<CallResult> {
  return sandbox.call({ plugin: "bridge", command, containerId, netns: pod.path, ifname: "eth0", ...options });
}

/** Puts a delegate "ipamstub" of this script into a directory: CNI_PATH for it. */
async function stub(script: string): Promise<string> {
  return sandbox.script("ipamstub", `#!/bin/sh\n${script}\n`);
}

const ANSWER = '{"cniVersion":"1.1.0","ips":[{"address":"10.123.9.5/24"}]}';

describe("finding the delegate", () => {
  test("not in CNI_PATH [DELEG-2]", async () => {
    const path = `${sandbox.directory}:/nowhere`;
    const result = await bridge("ADD", { config: config("no-such-plugin"), path });
    expectError(result, {
      msg: `failed to find plugin "no-such-plugin" in path [${sandbox.directory} /nowhere]`,
      code: 104,
    });
  });

  test("nowhere, when STATUS asks: the network is not available [STATUS-9]", async () => {
    expectError(await bridge("STATUS", { config: config("no-such-plugin") }), {
      code: 50,
      msg: /^failed to find plugin "no-such-plugin"/,
    });
  });

  test.each(["../bridge", "/bin/true", "a/b", "./x", ".", "..", "host-local/../../x"])(
    "the name %j is refused [PLUG-1]",
    async (type) => {
      const result = await bridge("ADD", { config: config(type), path: "/bin:/usr/bin" });
      expectError(result, { code: 7 });
      expect(String(result.json?.msg)).toContain(`invalid plugin name: ${type}`);
    },
  );

  test("itself", async () => {
    for (const command of ["ADD", "STATUS", "GC"]) {
      const given = { ...config("bridge"), "cni.dev/valid-attachments": [] };
      expectError(await bridge(command, { config: given }), {
        code: 7,
        msg: "plugin bridge cannot delegate to itself",
      });
    }
  });

  test("a name that is no text", async () => {
    const result = await bridge("ADD", { config: config(5) });
    expectError(result, { code: 7, msg: /"ipam.type"/ });
  });

  test("empty parts of CNI_PATH and directories of that name are passed over [PARAM-6 DELEG-2]", async () => {
    const trap = join(sandbox.directory, "bin-trap");
    await mkdir(join(trap, "ipamstub"), { recursive: true });
    const path = `:${trap}::${await stub('printf \'{"code":77,"msg":"found"}\'; exit 1')}:`;
    expectError(await bridge("ADD", { config: config("ipamstub"), path }), { code: 77, msg: "found" });
  });

  test("the first directory counts, also when the name is one of our own plugins [PLUG-6 DELEG-2]", async () => {
    const directory = await sandbox.script(
      "host-local",
      '#!/bin/sh\nprintf \'{"code":78,"msg":"not ours"}\'; exit 1\n',
    );
    const result = await bridge("ADD", { config: config("host-local"), path: `${directory}:${binDirectory}` });
    expectError(result, { code: 78, msg: "not ours" });
  });
});

describe("what a failed delegate says", () => {
  test("an error object is handed on as it is, under the configuration's version", async () => {
    const said = '{"cniVersion":"0.4.0","code":131,"msg":"no \\"more\\" leases","details":"line 1\\nline 2","more":1}';
    const path = await stub(`printf '%s' '${said.replaceAll("\\", "\\\\")}' | sed 's/\\\\\\\\/\\\\/g'; exit 1`);
    for (const version of VERSIONS) {
      const result = await bridge("ADD", { config: config("ipamstub", version), path });
      expectError(result, { code: 131, msg: 'no "more" leases', details: "line 1\nline 2", cniVersion: version });
    }
  });

  test.each([11, 3, 50, 4294967295])("code %d is kept", async (code) => {
    const path = await stub(`echo '{"code":${code},"msg":"m"}'; exit 1`);
    expectError(await bridge("ADD", { config: config("ipamstub"), path }), { code, msg: "m" });
  });

  test.each([
    ["text on stderr", "echo 'panic: boom' >&2; exit 2", /^netplugin failed: .*panic: boom/],
    ["garbage and text on stderr", "echo '<html>'; echo boom >&2; exit 1", /^netplugin failed: .*boom/],
    ["nothing at all", "exit 3", /^netplugin failed with no error message: .*exit status 3/],
    ["garbage", "echo '<html>'; exit 3", /^netplugin failed with no error message/],
    ["an empty object", "echo '{}'; exit 3", /^netplugin failed with no error message/],
    ["a result", `echo '${ANSWER}'; exit 3`, /^netplugin failed with no error message/],
    ["an error without message", 'echo \'{"code":7,"msg":""}\'; exit 1', /./],
    ["an error with a code of the wrong type", 'echo \'{"code":"7","msg":"x"}\'; exit 1', /^netplugin failed/],
    ["a negative code", 'echo \'{"code":-7,"msg":"x"}\'; exit 1', /^netplugin failed/],
    ["two error objects", 'echo \'{"code":7,"msg":"x"}{"code":7,"msg":"x"}\'; exit 1', /^netplugin failed/],
    ["killed by a signal", "kill -9 $$", /^netplugin failed with no error message: .*signal 9/],
    [
      "a crash after an answer",
      `echo '${ANSWER}'; kill -SEGV $$`,
      /^netplugin failed with no error message: .*signal 11/,
    ],
    ["control characters", "printf '\\001\\033[2J\\377' >&2; exit 1", /^netplugin failed/],
    ["a megabyte on stderr", "head -c 1000000 /dev/zero | tr '\\0' x >&2; exit 1", /^netplugin failed: x+/],
    ["five megabytes on stdout", "head -c 5000000 /dev/zero | tr '\\0' x; exit 1", /^netplugin failed/],
  ])("%s", async (_name, script, msg) => {
    const before = await traces(sandbox, pod);
    const result = await bridge("ADD", { config: config("ipamstub"), path: await stub(script) });
    expect(result.exitCode, result.stdout).toBe(1);
    expectError(result, { code: Number(result.json?.code), msg, cniVersion: "1.1.0" });
    expect(result.stdout.length).toBeLessThan(4096);
    expect(await traces(sandbox, pod)).toEqual(before);
  });
});

describe("what a delegate that succeeds says", () => {
  test.each([
    ["nothing", "exit 0"],
    ["garbage", "echo '<html>'"],
    ["a list", "echo '[]'"],
    ["two results", `echo '${ANSWER}${ANSWER}'`],
    ["an address without length", 'echo \'{"ips":[{"address":"10.0.0.1"}]}\''],
    ["an address of the wrong type", 'echo \'{"ips":[{"address":5}]}\''],
    ["five megabytes", "head -c 5000000 /dev/zero | tr '\\0' x"],
    ["too deep a nesting", "head -c 100000 /dev/zero | tr '\\0' '['"],
  ])("%s: code 104, and nothing is left", async (_name, script) => {
    const before = await traces(sandbox, pod);
    const result = await bridge("ADD", { config: config("ipamstub"), path: await stub(script) });
    expectError(result, { code: 104 });
    expect(`${result.json?.msg} ${result.json?.details}`).toContain("ipamstub");
    expect(await traces(sandbox, pod)).toEqual(before);
  });

  test.each(["9.8.7", "0.5.0", "1.1", "x"])("version %s, which there is not: code 1", async (version) => {
    const path = await stub(`echo '{"cniVersion":"${version}","ips":[{"address":"10.123.9.5/24"}]}'`);
    const msg = `unsupported CNI result version "${version}"`;
    expectError(await bridge("ADD", { config: config("ipamstub"), path }), { code: 1, msg });
  });

  test("what it says on stderr reaches ours, whether it succeeds or fails [DELEG-6]", async () => {
    const talks = `echo "$CNI_COMMAND: a note" >&2; [ "$CNI_COMMAND" != CHECK ] || exit 1; [ "$CNI_COMMAND" != ADD ] || echo '${ANSWER}'`;
    const path = await stub(talks);
    const added = await bridge("ADD", { config: config("ipamstub"), path });
    expect(added).toMatchObject({ exitCode: 0, stderr: "ADD: a note\n" });
    const checked = await bridge("CHECK", { config: { ...config("ipamstub"), prevResult: added.json }, path });
    expect(checked).toMatchObject({ exitCode: 1, stderr: "CHECK: a note\n" });
    expect(await bridge("DEL", { config: config("ipamstub"), path })).toMatchObject({ stderr: "DEL: a note\n" });
  });

  test.each([
    ["with cniVersion", ANSWER],
    ["without cniVersion", '{"ips":[{"address":"10.123.9.6/24","gateway":"10.123.9.1"}],"dns":{}}'],
    ["with white space around", `  \n${ANSWER.replace("9.5", "9.7")}\n\n`],
  ])("a result %s is taken", async (_name, answer) => {
    const path = await stub(`cat <<'EOF'\n${answer}\nEOF`);
    const result = await bridge("ADD", { config: config("ipamstub"), path });
    expect(result.exitCode, result.stdout).toBe(0);
    expect(result.json?.ips).toMatchObject([{ address: expect.stringMatching(/^10\.123\.9\.[567]\/24$/) }]);
    expect((await bridge("DEL", { config: config("ipamstub"), path })).exitCode).toBe(0);
  });

  test("null is a result without addresses: not garbage", async () => {
    const path = await stub("echo null");
    const result = await bridge("ADD", { config: config("ipamstub"), path });
    expect(result.json, result.stdout).toBeDefined();
    expect(result.json?.code).not.toBe(104);
    await bridge("DEL", { config: config("ipamstub"), path });
  });
});

describe("what a delegate gets", () => {
  /** A delegate that writes down its environment and stdin, and answers. */
  async function recorder(): Promise<{ path: string; seen: (what: "env" | "stdin" | "verbs") => Promise<string> }> {
    const notes = join(sandbox.directory, `bin-notes-${serial}`);
    await mkdir(notes);
    const path = await stub(
      `env > ${notes}/env; cat > ${notes}/stdin; echo "$CNI_COMMAND" >> ${notes}/verbs\n[ "$CNI_COMMAND" = ADD ] && echo '${ANSWER}'; exit 0`,
    );
    return { path, seen: async (what) => readFile(join(notes, what), "utf8") };
  }

  test("the whole environment, with variables that CNI does not know [DELEG-3]", async () => {
    const { path, seen } = await recorder();
    const env = {
      TRACEPARENT: "00-abc-def-01",
      TRACESTATE: "a=b",
      BAGGAGE: "k=v",
      SOMETHING: "else \u00e9",
      EMPTY: "",
    };
    const result = await bridge("ADD", { config: config("ipamstub"), path, env, args: "IgnoreUnknown=1;K=V" });
    expect(result.exitCode, result.stdout).toBe(0);
    const lines = (await seen("env")).split("\n");
    for (const [name, value] of Object.entries({
      ...env,
      CNI_COMMAND: "ADD",
      CNI_CONTAINERID: containerId,
      CNI_NETNS: pod.path,
      CNI_IFNAME: "eth0",
      CNI_PATH: path,
      CNI_ARGS: "IgnoreUnknown=1;K=V",
    })) {
      expect(lines).toContain(`${name}=${value}`);
    }
    await bridge("DEL", { config: config("ipamstub"), path });
  });

  test("stdin to the byte [DELEG-4]", async () => {
    const { path, seen } = await recorder();
    const stdin = `{ "cniVersion" : "1.1.0",\n\t"name":"pwt-delegation", "type":"bridge","bridge":"pwt0","rate":18446744073709551615,
      "unknown":{"\\u00e9":[1.0,-0,1e5]},"twice":1,"twice":2,\r\n"ipam":{"type":"ipamstub","note":"\u00e9\\u0000 \\/"}}\n\n`;
    const result = await bridge("ADD", { stdin, path });
    expect(result.exitCode, result.stdout).toBe(0);
    expect(await seen("stdin")).toBe(stdin);
    await bridge("DEL", { stdin, path });
  });

  test("every verb, with CNI_COMMAND set to it [DELEG-7 GC-4]", async () => {
    const { path, seen } = await recorder();
    const added = await bridge("ADD", { config: config("ipamstub"), path });
    expect(added.exitCode, added.stdout).toBe(0);
    const checked = { ...config("ipamstub"), prevResult: added.json };
    const wanted = ["ADD"];
    for (const [command, given] of [
      ["CHECK", checked],
      ["STATUS", config("ipamstub")],
      ["GC", { ...config("ipamstub"), "cni.dev/valid-attachments": [{ containerID: containerId, ifname: "eth0" }] }],
      ["DEL", checked],
    ] as const) {
      const result = await bridge(command, { config: given, path });
      expect(result, result.stdout).toMatchObject({ exitCode: 0, stdout: "" });
      wanted.push(command);
    }
    expect((await seen("verbs")).trim().split("\n")).toEqual(wanted);
  });

  test.each(["CHECK", "STATUS", "GC", "DEL"])(
    "its failure of %s is ours [CHECK-10 STATUS-9 GC-4 DELEG-7]",
    async (command) => {
      const path = await stub(
        `[ "$CNI_COMMAND" = ADD ] && echo '${ANSWER}' && exit 0; [ -n "$GOOD" ] && exit 0; echo '{"code":140,"msg":"not now"}'; exit 1`,
      );
      const added = await bridge("ADD", { config: config("ipamstub"), path });
      expect(added.exitCode, added.stdout).toBe(0);
      const given = { ...config("ipamstub"), prevResult: added.json, "cni.dev/valid-attachments": [] };
      expectError(await bridge(command, { config: given, path }), { code: 140, msg: "not now" });
      expect((await bridge("DEL", { config: given, path, env: { GOOD: "1" } })).exitCode).toBe(0);
    },
  );

  test("after a failed ADD, a DEL [DELEG-8]", async () => {
    const notes = join(sandbox.directory, `bin-notes-${serial}`);
    await mkdir(notes);
    const path = await stub(
      `echo "$CNI_COMMAND" >> ${notes}/verbs\n[ "$CNI_COMMAND" = DEL ] && exit 0; echo '{"code":141,"msg":"x"}'; exit 1`,
    );
    expectError(await bridge("ADD", { config: config("ipamstub"), path }), { code: 141 });
    expect((await readFile(join(notes, "verbs"), "utf8")).trim().split("\n")).toEqual(["ADD", "DEL"]);
  });

  test("after an ADD that cannot be used, a DEL, and the first failure is what is told", async () => {
    const notes = join(sandbox.directory, `bin-notes-${serial}`);
    await mkdir(notes);
    const path = await stub(
      `echo "$CNI_COMMAND" >> ${notes}/verbs\n[ "$CNI_COMMAND" = ADD ] && echo garbage && exit 0; echo '{"code":142,"msg":"DEL failed too"}'; exit 1`,
    );
    expectError(await bridge("ADD", { config: config("ipamstub"), path }), { code: 104 });
    expect((await readFile(join(notes, "verbs"), "utf8")).trim().split("\n")).toEqual(["ADD", "DEL"]);
  });
});

describe("starting the delegate", () => {
  test("a file that is being written is tried again", async (ctx) => {
    const path = await stub(`[ "$CNI_COMMAND" = ADD ] && echo '${ANSWER}'; exit 0`);
    const writer = await open(join(path, "ipamstub"), "r+");
    const busy = await bridge("STATUS", { config: config("ipamstub"), path: `${path}`, timeoutMs: 300 });
    if (busy.exitCode === 0) {
      await writer.close();
      ctx.skip("this kernel starts a file that is open for writing");
    }
    setTimeout(() => void writer.close(), 500);
    const result = await bridge("ADD", { config: config("ipamstub"), path });
    expect(result.exitCode, result.stdout).toBe(0);
    expect(result.durationMs).toBeGreaterThan(300);
    await bridge("DEL", { config: config("ipamstub"), path });
  });

  test("a file that cannot be started is named", async () => {
    for (const [text, mode] of [
      ["not a program", 0o755],
      ["#!/no/such/interpreter\n", 0o755],
      ["#!/bin/sh\n", 0o644],
    ] as const) {
      const path = await sandbox.script("ipamstub", text);
      await chmod(join(path, "ipamstub"), mode);
      const result = await bridge("ADD", { config: config("ipamstub"), path });
      expectError(result, { code: 104, msg: /ipamstub/ });
      expect(`${result.json?.msg}`).not.toMatch(/error \d+$/);
    }
  });

  test("SIGPIPE is not ignored in it", async () => {
    const path = await stub("yes | head -n 1 >/dev/null; grep SigIgn /proc/self/status >&2; exit 1");
    const result = await bridge("ADD", { config: config("ipamstub"), path });
    const ignored = Number.parseInt(/SigIgn:\s*([0-9a-f]+)/.exec(String(result.json?.msg))?.[1] ?? "ffff", 16);
    expect(ignored & (1 << 12)).toBe(0);
  });
});

describe("being told to stop while a delegate runs", () => {
  test.each(["SIGTERM", "SIGINT", "SIGHUP"] as const)(
    "%s: code 11, the delegate is stopped and its DEL is called",
    async (signal) => {
      const notes = join(sandbox.directory, `bin-notes-${serial}`);
      await mkdir(notes);
      const path = await stub(
        `echo "$CNI_COMMAND" >> ${notes}/verbs\n[ "$CNI_COMMAND" = DEL ] && exit 0; touch ${notes}/started; exec sleep 30`,
      );
      const before = await traces(sandbox, pod);
      const started = performance.now();
      const running = start(
        { plugin: "bridge", inside: sandbox.host },
        {
          CNI_COMMAND: "ADD",
          CNI_CONTAINERID: containerId,
          CNI_NETNS: pod.path,
          CNI_IFNAME: "eth0",
          CNI_PATH: path,
          PATH: "/usr/bin:/bin",
        },
      );
      running.write(JSON.stringify(config("ipamstub")));
      running.end();
      while (
        (await readFile(join(notes, "started")).catch(() => null)) === null &&
        performance.now() - started < 5000
      ) {
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      running.kill(signal);
      const result = await running.done;
      expect(performance.now() - started).toBeLessThan(10_000);
      expect(result).toMatchObject({ exitCode: 1, signal: null });
      expect(JSON.parse(result.stdout)).toMatchObject({
        code: 11,
        cniVersion: "1.1.0",
        msg: expect.stringContaining("interrupted"),
      });
      expect((await readFile(join(notes, "verbs"), "utf8")).trim().split("\n")).toEqual(["ADD", "DEL"]);
      expect(await traces(sandbox, pod)).toEqual(before);
    },
  );
});
