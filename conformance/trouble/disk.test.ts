/**
 * A file system that takes nothing, below the leases of host-local and below what other plugins keep on tmpfs: ADD says
 * where and why and leaves nothing, DEL and GC go on as far as the kernel lets them, and with room again all is as before.
 */
import { join } from "node:path";
import { execa } from "execa";
import { describe, expect, test } from "vitest";
import { binDirectory, type CallResult, expectError, expectSuccess, type JsonObject } from "../../testbed/harness.ts";
import { difference } from "../faults/snapshot.ts";
import { BACKENDS, type Node, type Pod, withNode } from "../plugins/portmap-lab.ts";
import { type Ailment, Disk } from "./disk.ts";
import { nodeSnapshot } from "./snapshot.ts";

const RECORDS = "/run/podwire";

interface Subject {
  readonly name: string;
  readonly plugin: string;
  /** What lies on the disk. */
  readonly keeps: "leases" | "records";
  readonly config: (index: number) => JsonObject;
}

const SUBJECTS: readonly Subject[] = [
  { name: "bridge with host-local", plugin: "bridge", keeps: "leases", config: () => ({}) },
  {
    name: "bridge with masquerade and spoof checks",
    plugin: "bridge",
    keeps: "records",
    config: () => ({ ipMasq: true, macspoofchk: true, ipSpoofCheck: true }),
  },
  { name: "firewall", plugin: "firewall", keeps: "records", config: () => ({ ingressPolicy: "isolated" }) },
  ...BACKENDS.map(
    (backend): Subject => ({
      name: `portmap (${backend})`,
      plugin: "portmap",
      keeps: "records",
      config: (index) => ({
        backend,
        capabilities: { portMappings: true },
        runtimeConfig: { portMappings: [{ hostPort: 8080 + index, containerPort: 80, protocol: "tcp" }] },
      }),
    }),
  ),
];

const WORDS: Readonly<Record<Ailment, RegExp>> = {
  full: /no space left on device/,
  "without inodes": /no space left on device/,
  "read-only": /read-only file system/,
};

const ADVICE: Readonly<Record<Ailment, RegExp>> = {
  full: /\bdf\b/,
  "without inodes": /df -i/,
  "read-only": /mount/,
};

/** A node, a disk on it, and pods of one subject. */
class Bench {
  readonly node: Node;
  readonly disk: Disk;
  readonly subject: Subject;

  constructor(node: Node, disk: Disk, subject: Subject) {
    this.node = node;
    this.disk = disk;
    this.subject = subject;
  }

  /** A pod to be: on the bridge already if the plugin comes behind bridge. */
  async pod(index: number): Promise<Pod & { readonly index: number }> {
    if (this.subject.plugin !== "bridge") return { ...(await this.node.bridged()), index };
    const netns = await this.node.namespace();
    await netns.ip("link", "set", "lo", "up");
    return { netns, containerId: netns.name, ifname: "eth0", bridged: {}, result: {}, v4: "", v6: "", index };
  }

  async call(command: string, pod: Pod & { readonly index: number }, extra: JsonObject = {}): Promise<CallResult> {
    const { plugin } = this.subject;
    const base = plugin === "bridge" ? this.node.bridgeConfig() : { ...this.node.portmapConfig(null), type: plugin };
    const chained = plugin === "bridge" ? {} : { prevResult: pod.bridged };
    const result = await this.node.sandbox.call({
      plugin,
      command,
      containerId: pod.containerId,
      netns: pod.netns.path,
      ifname: pod.ifname,
      config: { ...base, ...this.subject.config(pod.index), ...chained, ...extra },
      through: this.disk.through,
    });
    if (command === "ADD" && result.json !== undefined) pod.result = result.json;
    return result;
  }

  /** Everything in the kernel, and what is on the disk. */
  async state(): Promise<string[]> {
    const files = (await this.disk.files()).filter((name) => !/(^|\/)net-\d+$/.test(name));
    return [...(await nodeSnapshot(this.node, {})), ...files.map((name) => `disk: ${name}`)];
  }
}

async function withBench(subject: Subject, action: (bench: Bench) => Promise<void>): Promise<void> {
  await withNode({}, async (node) => {
    const disk = await Disk.mount(subject.keeps === "leases" ? node.sandbox.dataDir : RECORDS);
    try {
      await action(new Bench(node, disk, subject));
    } finally {
      await disk.remove();
    }
  });
}

describe.each(SUBJECTS.map((subject) => [subject.name, subject] as const))("%s", (_name, subject) => {
  test.each<Ailment>(["full", "without inodes", "read-only"])("on a disk that is %s", (ailment) =>
    withBench(subject, async (bench) => {
      const { disk } = bench;
      const pods = [];
      for (let index = 0; index < 4; index += 1) pods.push(await bench.pod(index));
      const [victim, first, second, third] = pods;
      if (!victim || !first || !second || !third) throw new Error("no pods");
      /* What the first one makes for all. */
      expectSuccess(await bench.call("ADD", third));
      expectSuccess(await bench.call("DEL", third));
      const nobody = await bench.state();
      for (const pod of [first, second]) expectSuccess(await bench.call("ADD", pod));
      const before = await bench.state();
      expect(difference(nobody, before)).not.toEqual([]);

      await disk.ail(ailment);
      const result = await bench.call("ADD", victim);
      const place = subject.keeps === "leases" ? join(bench.node.sandbox.dataDir, "pwt-net") : RECORDS;
      expectError(result, { code: 5, msg: WORDS[ailment], details: ADVICE[ailment] });
      expect(String(result.json?.msg)).toContain(place);
      expect(difference(before, await bench.state())).toEqual([]);
      for (const pod of [first, second]) {
        const prevResult = subject.plugin === "bridge" ? pod.result : pod.bridged;
        expectSuccess(await bench.call("CHECK", pod, { prevResult }));
      }

      const valid = { "cni.dev/valid-attachments": [{ containerID: "nobody", ifname: "eth0" }] };
      if (ailment === "read-only") {
        /* They can be repeated. */
        expectError(await bench.call("DEL", first), { code: 5, msg: WORDS[ailment] });
        expectError(await bench.call("GC", first, valid), { code: 5, msg: WORDS[ailment] });
        await disk.heal(ailment);
      }
      expectSuccess(await bench.call("DEL", victim));
      expectSuccess(await bench.call("DEL", first));
      expectSuccess(await bench.call("GC", first, valid));
      expect(difference(nobody, await bench.state())).toEqual([]);
      await disk.heal(ailment);

      const added = expectSuccess(await bench.call("ADD", victim));
      expectSuccess(await bench.call("CHECK", victim, { prevResult: added }));
      expectSuccess(await bench.call("DEL", victim));
      expect(difference(nobody, await bench.state())).toEqual([]);
    }),
  );
});

/** What a network's first ADD makes: three directories, the lock, the index, the record, the lease, and the last address. */
const INODES_OF_A_NETWORK = 8;

describe("a network's first ADD", () => {
  const inodesLeft = Array.from({ length: INODES_OF_A_NETWORK }, (_, i) => i);
  test.each(inodesLeft)("on a disk with %d inodes left: DEL, CHECK and GC need none", (left) =>
    withNode({}, async (node) => {
      const disk = await Disk.mount(node.sandbox.dataDir);
      try {
        const pod = await node.namespace();
        const call = (command: string, extra: JsonObject = {}) =>
          node.sandbox.call({
            plugin: "bridge",
            command,
            containerId: "pod",
            netns: pod.path,
            ifname: "eth0",
            config: { ...node.bridgeConfig(), ...extra },
            through: disk.through,
          });
        await disk.ail("without inodes", left);
        const added = await call("ADD");
        /* The last address is a hint only. */
        if (left < INODES_OF_A_NETWORK - 1) expectError(added, { code: 5, msg: WORDS["without inodes"] });
        const held = async () => (await disk.files()).filter((name) => /10\.88\.|\/[0-9a-f]{32}$/.test(name));
        if (added.exitCode !== 0) expect(await held()).toEqual([]);
        expectSuccess(await call("DEL"));
        expectSuccess(await call("GC", { "cni.dev/valid-attachments": [] }));
        expect(await held()).toEqual([]);
        await disk.heal("without inodes");
        const prevResult = expectSuccess(await call("ADD"));
        expectSuccess(await call("CHECK", { prevResult }));
        expectSuccess(await call("DEL"));
        expect(await held()).toEqual([]);
      } finally {
        await disk.remove();
      }
    }),
  );
});

/** An overlay's state is the kernel's; on the disk are a lock and a note, for repair, of how it was made. */
describe("vxlan-overlay", () => {
  const STATE = /^overlay-\d+$/;

  test("on a disk that is full works, and what could not be noted is with the next GC", () =>
    withOverlay(async ({ node, disk, call }) => {
      await disk.ail("full");
      expectSuccess(await call("STATUS"));
      expectSuccess(await call("GC"));
      await disk.heal("full");
      expectSuccess(await call("GC"));
      const held = await node.host.ip("route", "show", "proto", "112");
      expect(held).not.toBe("");
      await node.host.ip("link", "delete", "overlay1");
      const [program = "", ...args] = [`--net=${node.host.path}`, ...disk.through, join(binDirectory, "vxlan-overlay")];
      await execa("nsenter", [program, ...args, "repair"]);
      expect(await node.host.ip("route", "show", "proto", "112")).toBe(held);
    }));

  test.each<Ailment>(["without inodes", "read-only"])("on a disk that is %s", (ailment) =>
    withOverlay(async ({ node, disk, call }) => {
      const before = await nodeSnapshot(node, {});
      await disk.ail(ailment);
      for (const [command, code] of [
        ["STATUS", 50],
        ["GC", 5],
      ] as const) {
        const refused = await call(command);
        expectError(refused, { code, msg: WORDS[ailment], details: ADVICE[ailment] });
        expect(String(refused.json?.msg)).toContain(`open ${RECORDS}/overlay-`);
      }
      expectSuccess(await call("DEL"));
      expect(difference(before, await nodeSnapshot(node, {}))).toEqual([]);
      await disk.heal(ailment);
      expectSuccess(await call("STATUS"));
      expect((await disk.files()).filter((name) => STATE.test(name))).toHaveLength(1);
      if (ailment === "without inodes") await disk.ail(ailment);
      expectSuccess(await call("GC"));
    }),
  );
});

interface Overlay {
  readonly node: Node;
  readonly disk: Disk;
  call(command: string): Promise<CallResult>;
}

async function withOverlay(action: (overlay: Overlay) => Promise<void>): Promise<void> {
  await withNode({}, async (node) => {
    const disk = await Disk.mount(RECORDS);
    const config = {
      cniVersion: "1.1.0",
      name: node.network,
      type: "vxlan-overlay",
      podCIDRs: ["10.88.0.0/24"],
      underlay: "192.0.2.1",
      peers: [{ nodeIP: "192.0.2.2", podCIDRs: ["10.89.0.0/24"] }],
      "cni.dev/valid-attachments": [],
    };
    const { through } = disk;
    const who = { plugin: "vxlan-overlay", containerId: "pod", ifname: "eth0", netns: "" };
    const call = (command: string) => node.sandbox.call({ ...who, command, config, through });
    try {
      await action({ node, disk, call });
    } finally {
      await disk.remove();
    }
  });
}
