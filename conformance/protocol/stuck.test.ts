/** What a plugin waits for: readers, the kernel, other programs. A signal ends the waiting, and what was done is taken back. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { closeSync, constants, openSync, readFileSync, readSync, writeSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  binDirectory,
  type CallOptions,
  callEnvironment,
  expectSuccess,
  type JsonObject,
  type Netns,
  Sandbox,
  until,
  withSandbox,
} from "../../testbed/harness.ts";
import { IPAM, PLUGINS, SUBNET, traces, validCall, validConfig, withUnderlay } from "./fixtures.ts";
import { POLL, sleepsIn, WRITE } from "./sleep.ts";

let sandbox: Sandbox;
let pod: Netns;

beforeAll(async () => {
  sandbox = await Sandbox.create();
  await withUnderlay(sandbox.host);
  pod = await sandbox.pod();
});

afterAll(async () => {
  await sandbox.remove();
});

const leases = async (): Promise<string[]> => (await traces(sandbox, pod)).filter((trace) => /\/10\.123\./.test(trace));

/** A pipe that has room for a number of bytes, and that nobody reads. */
class FullPipe {
  readonly path: string;
  readonly #fd: number;

  constructor(path: string, room: number) {
    this.path = path;
    execFileSync("mkfifo", [path]);
    this.#fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
    const page = Buffer.alloc(4096, " ");
    try {
      for (;;) writeSync(this.#fd, page);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") throw error;
    }
    for (let read = 0; read < room; ) read += readSync(this.#fd, page, 0, Math.min(room - read, 4096), null);
  }

  /** Everything in it but the filling. */
  contents(): string {
    const page = Buffer.alloc(1 << 20);
    const length = readSync(this.#fd, page, 0, page.length, null);
    return page.toString("utf8", 0, length).trim();
  }

  close(): void {
    closeSync(this.#fd);
  }
}

interface Stuck {
  readonly child: ChildProcess;
  readonly ended: Promise<{ exitCode: number | null; signal: string | null; stdout: string; stderr: string }>;
}

/** Starts a plugin by a shell's line, in which "$0" is the plugin. */
function startBy(line: string, options: CallOptions, ...more: string[]): Stuck {
  const { plugin } = options;
  const inside = [`--net=${sandbox.host.path}`, "--", "sh", "-c", line, join(binDirectory, plugin), ...more];
  const child = spawn("nsenter", inside, { env: callEnvironment(options, binDirectory) });
  let stdout = "";
  let stderr = "";
  child.stdout.on("data", (chunk: Buffer) => {
    stdout += chunk.toString();
  });
  child.stderr.on("data", (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  child.stdin.on("error", () => {});
  child.stdin.end(JSON.stringify(options.config));
  const last = setTimeout(() => child.kill("SIGKILL"), 60_000);
  const ended = new Promise<Awaited<Stuck["ended"]>>((resolve) => {
    child.on("close", (exitCode, signal) => {
      clearTimeout(last);
      resolve({ exitCode, signal, stdout, stderr });
    });
  });
  return { child, ended };
}

describe("a reader that does not read", () => {
  const routes = Array.from({ length: 200 }, (_route, i) => ({ dst: `10.200.${i}.0/24`, gw: "10.123.0.1" }));
  const ipam = (more: JsonObject): JsonObject => ({
    type: "host-local",
    subnet: SUBNET,
    dataDir: sandbox.dataDir,
    ...more,
  });

  test.each(["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGXCPU"] as const)(
    "of the result: %s ends the ADD, which keeps no lease",
    async (signal) => {
      const pipe = new FullPipe(join(sandbox.directory, `full-${signal}`), 0);
      const options = { ...validCall("host-local", "ADD", sandbox, pod), containerId: signal };
      const stuck = startBy('exec "$0" >"$1"', options, pipe.path);
      await sleepsIn(stuck.child.pid, WRITE);
      expect(await leases()).toHaveLength(1);
      stuck.child.kill(signal);
      expect(await stuck.ended).toMatchObject({ exitCode: 1, signal: null });
      expect(await leases()).toEqual([]);
      pipe.close();
    },
  );

  test("of the rest of the result: no second document follows the part that is there", async () => {
    const pipe = new FullPipe(join(sandbox.directory, "half"), 4096);
    const valid = { ...validCall("host-local", "ADD", sandbox, pod), containerId: "half" };
    const config = { ...validConfig("host-local", "1.0.0", sandbox), ipam: ipam({ routes }) };
    const stuck = startBy('exec "$0" >"$1"', { ...valid, config }, pipe.path);
    await sleepsIn(stuck.child.pid, WRITE);
    stuck.child.kill("SIGTERM");
    const result = await stuck.ended;
    expect(result).toMatchObject({ exitCode: 1, signal: null });
    expect(result.stderr).toBe(
      "interrupted by signal 15; standard output has a part of a result, which is not valid\n",
    );
    expect(await leases()).toEqual([]);
    const part = pipe.contents();
    expect(part.startsWith("{")).toBe(true);
    expect(part).not.toContain('"code"');
    pipe.close();
  });

  test("of an error: the plugin ends all the same", async () => {
    const pipe = new FullPipe(join(sandbox.directory, "error"), 0);
    const options = { ...validCall("host-local", "ADD", sandbox, pod), config: { cniVersion: "1.0.0" } };
    expect(await startBy('exec "$0" >"$1"', options, pipe.path).ended).toMatchObject({ exitCode: 1, signal: null });
    pipe.close();
  });

  test("of notes on stderr: the plugin does its work", async () => {
    const pipe = new FullPipe(join(sandbox.directory, "notes"), 0);
    const options = validCall("host-local", "GC", sandbox, pod);
    expect(await startBy('exec "$0" 2>"$1"', options, pipe.path).ended).toMatchObject({ exitCode: 0, stdout: "" });
    pipe.close();
  });

  test("a reader that is late gets the result, also by a stream that does not block", async () => {
    for (const how of ["", "non-blocking "]) {
      const pipe = new FullPipe(join(sandbox.directory, `${how}late`), 0);
      const options = { ...validCall("host-local", "ADD", sandbox, pod), containerId: "late" };
      /* Python's is the only shell at hand that can set the flag. */
      const program =
        how === ""
          ? 'exec "$0" >"$1"'
          : 'exec python3 -c "import os,sys; os.set_blocking(1, False); os.execv(sys.argv[1], [sys.argv[1]])" "$0" >"$1"';
      const stuck = startBy(program, options, pipe.path);
      await sleepsIn(stuck.child.pid, how === "" ? WRITE : POLL);
      pipe.contents();
      expect(await stuck.ended).toMatchObject({ exitCode: 0, stderr: "" });
      expect(JSON.parse(pipe.contents())).toMatchObject({ ips: [{ gateway: "10.123.0.1" }] });
      expectSuccess(await sandbox.call({ ...options, command: "DEL" }));
      pipe.close();
    }
  });

  test("a stdin that does not block is waited for", async () => {
    const options = { ...validCall("host-local", "ADD", sandbox, pod), containerId: "late" };
    const program =
      'exec python3 -c "import os,sys; os.set_blocking(0, False); os.execv(sys.argv[1], [sys.argv[1]])" "$0"';
    const result = spawnSync("sh", ["-c", `{ sleep 0.5; cat; } | ${program}`, join(binDirectory, "host-local")], {
      input: JSON.stringify(options.config),
      env: callEnvironment(options, binDirectory),
      encoding: "utf8",
    });
    expect(result, result.stdout).toMatchObject({ status: 0, stderr: "" });
    expectSuccess(await sandbox.call({ ...options, command: "DEL" }));
  });
});

describe("a kernel that does not answer", () => {
  /** Requests are not sent, and the plugin does not know. The plugin's process stays the one that is started. */
  const unsent = 'exec strace -D -f -qq -o /dev/null -e trace=sendto -e inject=sendto:retval=64 "$0"';
  const asking = PLUGINS.filter((plugin) => !IPAM.includes(plugin));

  test.each(asking)("%s: a signal ends the ADD with code 11", async (plugin) => {
    const before = await traces(sandbox, pod);
    const config = { ...validConfig(plugin, "1.0.0", sandbox), ...WORK[plugin] };
    const stuck = startBy(unsent, { ...validCall(plugin, "ADD", sandbox, pod), config });
    await sleepsIn(stuck.child.pid, POLL);
    stuck.child.kill("SIGTERM");
    const result = await stuck.ended;
    expect(result, result.stderr).toMatchObject({ exitCode: 1, signal: null });
    expect(JSON.parse(result.stdout)).toMatchObject({ code: 11, msg: "interrupted by signal 15" });
    expect(await traces(sandbox, pod)).toEqual(before);
  });

  test("without a signal it is given up", async () => {
    const stuck = startBy(unsent, validCall("loopback", "ADD", sandbox, pod));
    const result = await stuck.ended;
    expect(result).toMatchObject({ exitCode: 1, signal: null });
    const msg = "the kernel has not answered a netlink request within 10 s";
    expect(JSON.parse(result.stdout)).toMatchObject({ code: 11, msg });
  });
});

/** What makes a plugin ask the kernel. */
const WORK: Readonly<Record<string, JsonObject>> = {
  bandwidth: {
    runtimeConfig: { bandwidth: { ingressRate: 8_000_000, ingressBurst: 800_000 } },
    prevResult: { cniVersion: "1.0.0", interfaces: [], ips: [{ address: "10.123.0.9/24" }] },
  },
  firewall: { prevResult: { cniVersion: "1.0.0", interfaces: [], ips: [{ address: "10.123.0.9/24" }] } },
  tuning: { mtu: 1400, prevResult: { cniVersion: "1.0.0", interfaces: [], ips: [{ address: "10.123.0.9/24" }] } },
  portmap: {
    runtimeConfig: { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }] },
    prevResult: { cniVersion: "1.0.0", interfaces: [], ips: [{ address: "10.123.0.9/24" }] },
  },
};

describe("a delegate that does not end", () => {
  test("is told to, then killed; its DEL follows, and the answer is code 11", () =>
    withSandbox(async (own) => {
      const script = `#!/bin/sh
trap '' TERM
echo "$CNI_COMMAND" >>'${join(own.directory, "calls")}'
[ "$CNI_COMMAND" = ADD ] && while :; do sleep 0.1; done
exit 0
`;
      const path = `${await own.script("stubborn", script)}:${binDirectory}`;
      const config = { ...validConfig("bridge", "1.0.0", own), ipam: { type: "stubborn" } };
      const options = { ...validCall("bridge", "ADD", own, await own.pod()), config, path };
      const stuck = startBy('exec "$0"', options);
      const calls = (): string => {
        try {
          return readFileSync(join(own.directory, "calls"), "utf8");
        } catch {
          return "";
        }
      };
      expect(await until(() => calls() !== "", 20_000)).toBe(true);
      stuck.child.kill("SIGTERM");
      const result = await stuck.ended;
      expect(result, result.stderr).toMatchObject({ exitCode: 1, signal: null });
      expect(JSON.parse(result.stdout)).toMatchObject({ code: 11, msg: "interrupted by signal 15" });
      expect(calls()).toBe("ADD\nDEL\n");
    }));
});

describe("a limit for the size of files (RLIMIT_FSIZE)", () => {
  const WRITERS: Readonly<Record<string, JsonObject>> = {
    "host-local": {},
    bridge: { ipMasq: true },
    portmap: WORK.portmap ?? {},
  };

  test.each(Object.keys(WRITERS))("%s: code 5 with what to do, and nothing is kept", async (plugin) => {
    const before = await traces(sandbox, pod);
    const ipam = { type: "host-local", subnet: SUBNET, dataDir: sandbox.dataDir };
    const config = { ...validConfig(plugin as "bridge", "1.0.0", sandbox), ipam, ...WRITERS[plugin] };
    const options = { ...validCall(plugin as "bridge", "ADD", sandbox, pod), config };
    const result = await startBy('ulimit -f 0; exec "$0"', options).ended;
    expect(result, result.stderr).toMatchObject({ exitCode: 1, signal: null });
    expect(JSON.parse(result.stdout)).toMatchObject({
      code: 5,
      msg: expect.stringMatching(/too large$/),
      details: expect.stringContaining("ulimit -f"),
    });
    const kept = (await traces(sandbox, pod)).filter((trace) => /eth0|veth|\/10\.123\./.test(trace));
    expect(kept).toEqual(before.filter((trace) => /eth0|veth|\/10\.123\./.test(trace)));
    const removed = await startBy('ulimit -f 0; exec "$0"', { ...options, command: "DEL" }).ended;
    expect(removed, removed.stdout).toMatchObject({ exitCode: 0, stdout: "" });
  });

  test("a result that is beyond it is taken back", async () => {
    const options = { ...validCall("host-local", "ADD", sandbox, pod), containerId: "long" };
    const file = join(sandbox.directory, "result");
    /* Blocks of 512 bytes: leases fit, and the result begins behind what is there. */
    const line = 'head -c 1000 /dev/zero >"$1"; ulimit -f 2; exec "$0" >>"$1"';
    expect(await startBy(line, options, file).ended).toMatchObject({ exitCode: 1, signal: null });
    expect(await leases()).toEqual([]);
  });
});
