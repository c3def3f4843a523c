/**
 * Faults at every step of an ADD, by strace: the plugin is killed before, or gets an error from, each system call that
 * changes something. The addresses come from host-local, which is in the same process, so its steps are among them.
 */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import { describe, expect, test } from "vitest";
import { binDirectory, callEnvironment, expectSuccess, type JsonObject, type Netns } from "../harness.ts";
import { type Lab, leftovers, NETWORK, NOTHING, withLab } from "./bridge-lab.ts";

/** More calls of one kind than an ADD makes. */
const MANY = 200;

function config(lab: Lab): JsonObject {
  return {
    isDefaultGateway: true,
    ipam: {
      type: "host-local",
      dataDir: lab.sandbox.dataDir,
      ranges: [[{ subnet: "10.77.0.0/24" }], [{ subnet: "fd77::/64" }]],
    },
  };
}

interface Fault {
  /** For messages: "sendto:error=ENOMEM:when=3". */
  readonly at: string;
  readonly exitCode: number | null;
  readonly stdout: string;
  /** Whether the ADD got as far as the fault. */
  readonly met: boolean;
}

/** ADD with a fault as strace has it: `sendto:error=ENOMEM:when=3`. */
async function addWithFault(lab: Lab, pod: Netns, at: string): Promise<Fault> {
  const options = { plugin: "bridge", command: "ADD", containerId: pod.name, netns: pod.path, ifname: "eth0" };
  const log = join(lab.sandbox.directory, "trace");
  const strace = ["strace", "-o", log, "-e", `trace=${at.slice(0, at.indexOf(":"))}`, "-e", `inject=${at}`];
  const result = await execa("nsenter", [`--net=${lab.host.path}`, "--", ...strace, join(binDirectory, "bridge")], {
    env: callEnvironment(options, binDirectory),
    extendEnv: false,
    input: JSON.stringify(lab.config(config(lab))),
    reject: false,
    timeout: 20_000,
  });
  const met = /INJECTED|killed by SIGKILL/.test(await readFile(log, "utf8"));
  return { at, exitCode: result.exitCode ?? null, stdout: result.stdout, met };
}

/** Tries a fault at the first, second, ... call of its kind, until an ADD does not get to it. Returns how many it met. */
async function everywhere(
  lab: Lab,
  fault: string,
  after: (pod: Netns, outcome: Fault) => Promise<void>,
): Promise<number> {
  for (let n = 1; n <= MANY; n += 1) {
    const pod = await lab.pod();
    const outcome = await addWithFault(lab, pod, `${fault}:when=${n}`);
    if (outcome.exitCode === 0) {
      const prevResult = JSON.parse(outcome.stdout) as JsonObject;
      expectSuccess(await lab.run("CHECK", pod, { ...config(lab), prevResult }));
    }
    await after(pod, outcome);
    await pod.remove();
    if (!outcome.met) return n - 1;
  }
  throw new Error(`an ADD makes more than ${MANY} calls of ${fault}`);
}

/** The addresses that are leased. */
async function leases(lab: Lab): Promise<string[]> {
  const files = await readdir(join(lab.sandbox.dataDir, NETWORK)).catch(() => [] as string[]);
  return files.filter((name) => /^(\d+\.){3}\d+$|^fd77::/.test(name));
}

async function remains(lab: Lab, pod: Netns) {
  return { ...(await leftovers(lab, pod)), leases: await leases(lab) };
}

/** Calls that every ADD makes: a test that met none of them has tested nothing. */
const CERTAIN = ["sendto", "recvfrom", "write", "openat", "setns", "socket"];

describe("killed in the middle: a DEL leaves nothing, also without the namespace", () => {
  test.each(["sendto", "recvfrom", "write", "setns", "openat", "socket", "pwrite64", "fsync", "renameat", "unlinkat"])(
    "at each %s",
    (name) =>
      withLab(async (lab) => {
        const met = await everywhere(lab, `${name}:signal=KILL`, async (pod, { at }) => {
          await lab.del(pod, config(lab), { netns: "" });
          expect(await remains(lab, pod), at).toEqual(NOTHING);
        });
        if (CERTAIN.includes(name)) expect(met).toBeGreaterThan(0);
      }),
    300_000,
  );
});

describe("killed in the middle: an ADD in the next namespace has all it needs, and GC finds the rest", () => {
  test(
    "at each sendto",
    () =>
      withLab(async (lab) => {
        await everywhere(lab, "sendto:signal=KILL", async (pod, { at }) => {
          const fresh = await lab.pod();
          const options = { containerId: pod.name };
          const result = await lab.add(fresh, config(lab), options);
          expectSuccess(await lab.check(fresh, result, config(lab), options));
          expect(await pod.links(), at).toEqual(["lo"]);
          expect(await leases(lab), at).toHaveLength(2);
          await lab.del(fresh, config(lab), options);
          await fresh.remove();
        });
      }),
    300_000,
  );

  test(
    "at each sendto: GC",
    () =>
      withLab(async (lab) => {
        await everywhere(lab, "sendto:signal=KILL", async (pod, { at }) => {
          expectSuccess(await lab.run("GC", pod, { ...config(lab), "cni.dev/valid-attachments": [] }));
          const { links, podLinks } = await remains(lab, pod);
          expect({ links, podLinks }, at).toEqual({ links: [], podLinks: [] });
          await lab.del(pod, config(lab));
        });
      }),
    300_000,
  );
});

describe("an error from the system: the ADD fails and has taken everything back, or it did without", () => {
  test.each([
    ["sendto", "ENOMEM"],
    ["sendto", "ENOBUFS"],
    ["recvfrom", "ENOBUFS"],
    ["write", "EIO"],
    ["write", "ENOSPC"],
    ["openat", "EMFILE"],
    ["openat", "EACCES"],
    ["setns", "EPERM"],
    ["socket", "EMFILE"],
    ["fsync", "EIO"],
  ])(
    "%s: %s",
    (name, error) =>
      withLab(async (lab) => {
        const met = await everywhere(lab, `${name}:error=${error}`, async (pod, { at, exitCode }) => {
          if (exitCode === 0) await lab.del(pod, config(lab));
          expect(await remains(lab, pod), at).toEqual(NOTHING);
        });
        if (CERTAIN.includes(name)) expect(met).toBeGreaterThan(0);
      }),
    300_000,
  );
});
