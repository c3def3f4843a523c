/** What ADD made is found again: by CHECK, which names what is missing, by DEL whatever it is told, and by GC. */
import { readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import { describe, expect, test } from "vitest";
import { binDirectory, callEnvironment, expectError, expectSuccess, type JsonObject } from "../../testbed/harness.ts";
import { deleteNatRule, portsLeft, remains } from "./node-filter.ts";
import {
  addressOf,
  BACKENDS,
  type Backend,
  type Mapping,
  type Node,
  type Pod,
  recordsOf,
  withNode,
} from "./portmap-lab.ts";
import { BRIEFLY, type Question } from "./traffic.ts";

const node4 = addressOf("node", 4);
const node6 = addressOf("node", 6);

const OTHER: readonly Mapping[] = [{ hostPort: 8190, containerPort: 80, protocol: "tcp" }];
const MAPPINGS: readonly Mapping[] = [
  { hostPort: 8080, containerPort: 80, protocol: "tcp" },
  { hostPort: 8081, containerPort: 80, protocol: "udp" },
  { hostPort: 8082, containerPort: 80, protocol: "tcp", hostIP: node4 },
  { hostPort: 8083, containerPort: 80, protocol: "sctp", hostIP: node6 },
];

/** Whether all of MAPPINGS lead to the pod with a label; `patience` is for an answer. */
async function answers(node: Node, label: string, patience: Partial<Question> = {}): Promise<boolean[]> {
  const texts = await Promise.all([
    node.ask(node.client, node4, 8080, "tcp", patience),
    node.ask(node.client, node6, 8080, "tcp", patience),
    node.ask(node.client, node4, 8081, "udp", patience),
    node.ask(node.client, node4, 8082, "tcp", patience),
    node.ask(node.client, node6, 8083, "sctp", patience),
  ]);
  return texts.map((text) => text.startsWith(`${label} saw`));
}

const ALL = [true, true, true, true, true];
const NONE = [false, false, false, false, false];

/** Takes the TCP mapping of a port out of the packet filter, as a careless administrator would. */
async function takeOut(node: Node, backend: Backend, port: number): Promise<void> {
  if (backend === "nftables") {
    await node.nft("delete", "element", "inet", "podwire", "hostports4", `{ tcp . ${port} }`);
    return;
  }
  await deleteNatRule(node, `--dport ${port} `, "-j DNAT");
}

describe.each(BACKENDS)("backend %s", (backend) => {
  const options = { portmap: { backend } };

  test("ADD, CHECK, DEL, and nothing is left", () =>
    withNode(options, async (node) => {
      const pod = await node.pod({ label: "web", mappings: MAPPINGS });
      expect(await answers(node, "web")).toEqual(ALL);
      const check = await node.check(pod, MAPPINGS);
      expectSuccess(check);
      expect(check.stdout).toBe("");
      await node.removePod(pod, MAPPINGS);
      expect(await answers(node, "web", BRIEFLY)).toEqual(NONE);
      expect(await remains(node)).toEqual([]);
    }));

  describe("CHECK", () => {
    test("names the mapping that is missing", () =>
      withNode(options, async (node) => {
        const pod = await node.pod({ mappings: MAPPINGS });
        await takeOut(node, backend, 8080);
        const result = await node.check(pod, MAPPINGS);
        expectError(result, { code: 101 });
        expect(result.stdout).toMatch(/tcp/);
        expect(result.stdout).toMatch(/8080/);
        expect(result.stdout).toContain(pod.v4);
        expect(result.stdout).not.toMatch(/8081|8082|8083/);
      }));

    test("finds a mapping that ADD was not asked for, and one that leads elsewhere", () =>
      withNode(options, async (node) => {
        const pod = await node.pod({ mappings: MAPPINGS });
        const more = [...MAPPINGS, { hostPort: 8084, containerPort: 80, protocol: "tcp" }];
        expectError(await node.check(pod, more), { code: 101 });
        expect((await node.check(pod, more)).stdout).toContain("8084");
        const other = MAPPINGS.map((mapping) => ({ ...mapping, containerPort: 81 }));
        expectError(await node.check(pod, other), { code: 101 });
      }));

    test("finds the loss of everything", () =>
      withNode(options, async (node) => {
        const pod = await node.pod({ mappings: MAPPINGS });
        await node.nft("flush", "ruleset");
        const result = await node.check(pod, MAPPINGS);
        expectError(result, { code: 101 });
        expect(result.stdout).toMatch(/8080/);
      }));

    test("fails for a pod that was never added", () =>
      withNode(options, async (node) => {
        const pod = await node.bridged();
        expectError(await node.check(pod, MAPPINGS), { code: 101 });
        expectSuccess(await node.check(pod, []));
        expectSuccess(await node.check(pod, null));
      }));
  });

  describe("DEL works", () => {
    const WAYS: readonly (readonly [string, (node: Node, pod: Pod) => Promise<JsonObject>])[] = [
      ["as a runtime does it", async (node, pod) => node.portmapConfig(MAPPINGS, { prevResult: pod.result })],
      ["without runtimeConfig", async (node, pod) => node.portmapConfig(null, { prevResult: pod.result })],
      ["without prevResult", async (node) => node.portmapConfig(MAPPINGS)],
      ["without either", async (node) => node.portmapConfig(null)],
      ["with other mappings", async (node) => node.portmapConfig([{ hostPort: 8090, containerPort: 1 }])],
      ["with the network renamed", async (node) => node.portmapConfig(null, { name: "pwt-renamed" })],
      ["with the backend no longer given", async (node) => node.portmapConfig(null, { backend: undefined })],
      [
        "with mappings that are invalid by now",
        async (node) => node.portmapConfig([{ hostPort: 0, containerPort: 0 }]),
      ],
      [
        "after the packet filter was flushed",
        async (node, pod) => {
          await node.nft("flush", "ruleset");
          return node.portmapConfig(MAPPINGS, { prevResult: pod.result });
        },
      ],
      [
        "after the mappings were taken out by hand",
        async (node) => {
          await takeOut(node, backend, 8080);
          return node.portmapConfig(null);
        },
      ],
      [
        "with the namespace gone",
        async (node, pod) => {
          await node.kill(pod);
          return node.portmapConfig(null);
        },
      ],
    ];

    test.each(WAYS)("%s, thrice", (_name, prepare) =>
      withNode(options, async (node) => {
        /* Another pod that must not notice. */
        await node.pod({ label: "other", mappings: [{ hostPort: 8095, containerPort: 80, protocol: "tcp" }] });
        const pod = await node.pod({ label: "web", mappings: MAPPINGS });
        const config = await prepare(node, pod);
        const flushed = !(await portsLeft(node)).includes(8095);
        for (let time = 0; time < 3; time += 1) {
          const result = await node.call("portmap", "DEL", pod, config);
          expectSuccess(result);
          expect(result.stdout).toBe("");
          expect(result.stderr).toBe("");
        }
        expect(await answers(node, "web", BRIEFLY)).toEqual(NONE);
        expect(await portsLeft(node)).toEqual(flushed ? [] : [8095]);
        if (!flushed) expect(await node.ask(node.client, node4, 8095)).toMatch(/^other saw/);
      }),
    );

    test("without CNI_NETNS", () =>
      withNode(options, async (node) => {
        const pod = await node.pod({ mappings: MAPPINGS });
        const { containerId, ifname } = pod;
        const config = node.portmapConfig(null);
        expectSuccess(await node.sandbox.call({ plugin: "portmap", command: "DEL", containerId, ifname, config }));
        expect(await remains(node)).toEqual([]);
      }));

    test("for a pod that was never added, and for one without ports", () =>
      withNode(options, async (node) => {
        const pod = await node.bridged();
        await node.unpublish(pod, MAPPINGS);
        await node.unpublish(pod, []);
        await node.unpublish(pod, null);
        expect(await remains(node)).toEqual([]);
      }));
  });

  describe("two interfaces of one container", () => {
    test("in two networks: each DEL takes its own", () =>
      withNode(options, async (node) => {
        const first = await node.pod({
          label: "web",
          mappings: [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }],
        });
        const bridge = {
          name: "pwt-other",
          bridge: "cni1",
          isDefaultGateway: false,
          isGateway: true,
          ipam: { type: "host-local", dataDir: node.sandbox.dataDir, ranges: [[{ subnet: "10.89.0.0/24" }]] },
        };
        const { netns, containerId } = first;
        const portmap = { name: "pwt-other" };
        const mappings = [{ hostPort: 8090, containerPort: 80, protocol: "tcp" }];
        const second = await node.pod({ netns, containerId, ifname: "eth1", bridge, portmap, mappings });
        expect(await node.ask(node.host, node4, 8080)).toMatch(/^web saw/);
        expectSuccess(await node.check(first, [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }]));
        expectSuccess(await node.check(second, mappings, portmap));
        expect((await node.nft("list", "ruleset")).includes(second.v4)).toBe(true);
        await node.unpublish(first, null);
        expect(await node.ask(node.host, node4, 8080)).not.toContain("saw");
        expectSuccess(await node.check(second, mappings, portmap));
        await node.unpublish(second, null, portmap);
        expect(await remains(node)).toEqual([]);
      }));

    test("in one network", () =>
      withNode(options, async (node) => {
        const first = await node.pod({
          label: "web",
          mappings: [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }],
        });
        const { netns, containerId } = first;
        const mappings = [{ hostPort: 8090, containerPort: 80, protocol: "tcp" }];
        const bridge = { isDefaultGateway: false, isGateway: true };
        const second = await node.pod({ netns, containerId, ifname: "eth1", bridge, mappings });
        await node.unpublish(second, null);
        expect(await node.ask(node.client, node4, 8080)).toMatch(/^web saw/);
        expect(await portsLeft(node)).toEqual([8080]);
        await node.unpublish(first, null);
        expect(await remains(node)).toEqual([]);
      }));
  });

  describe("GC", () => {
    async function collect(node: Node, valid: readonly Pod[], name = node.network): Promise<void> {
      const attachments = valid.map(({ containerId, ifname }) => ({ containerID: containerId, ifname }));
      const config = node.portmapConfig(null, { name, "cni.dev/valid-attachments": attachments });
      expectSuccess(await node.sandbox.call({ plugin: "portmap", command: "GC", config }));
    }

    test("keeps the valid attachments and other networks, and removes the rest", () =>
      withNode(options, async (node) => {
        const pod = (label: string, hostPort: number, portmap: JsonObject = {}) =>
          node.pod({ label, mappings: [{ hostPort, containerPort: 80, protocol: "tcp" }], portmap });
        const [valid, gone, elsewhere] = [
          await pod("valid", 8080),
          await pod("gone", 8081),
          await pod("elsewhere", 8082, { name: "pwt-other" }),
        ];
        await collect(node, [valid]);
        expect(await node.ask(node.client, node4, 8080)).toMatch(/^valid saw/);
        expect(await node.ask(node.client, node6, 8080)).toMatch(/^valid saw/);
        expect(await node.ask(node.client, node4, 8081)).toBe("refused");
        expect(await node.ask(node.client, node4, 8082)).toMatch(/^elsewhere saw/);
        expect((await remains(node)).join("\n")).not.toContain(gone.v4);
        await collect(node, []);
        await collect(node, [], "pwt-other");
        expect(await remains(node)).toEqual([]);
        expect(elsewhere.v4).not.toBe("");
      }));

    test("after a flush there is nothing left to remove, and the valid ones come back at the latest with STATUS", () =>
      withNode(options, async (node) => {
        const web = await node.pod({ label: "web", mappings: MAPPINGS });
        const gone = await node.pod({ mappings: [{ hostPort: 8095, containerPort: 80, protocol: "tcp" }] });
        await node.nft("flush", "ruleset");
        await collect(node, [web]);
        expectSuccess(
          await node.sandbox.call({ plugin: "portmap", command: "STATUS", config: node.portmapConfig(null) }),
        );
        expect(await answers(node, "web")).toEqual(ALL);
        expect((await remains(node)).join("\n")).not.toContain(gone.v4);
      }));
  });

  describe("ADD again", () => {
    test("of the same container with the same ports changes nothing", () =>
      withNode(options, async (node) => {
        const pod = await node.pod({ label: "web", mappings: MAPPINGS });
        const before = await node.ruleset();
        expectSuccess(await node.publish(pod, MAPPINGS));
        expect(await node.ruleset()).toBe(before);
        expect(await answers(node, "web")).toEqual(ALL);
        await node.removePod(pod);
        expect(await remains(node)).toEqual([]);
      }));

    test("with other ports leaves none of the first ones", () =>
      withNode(options, async (node) => {
        const pod = await node.pod({ label: "web", mappings: MAPPINGS });
        expectSuccess(await node.publish(pod, [{ hostPort: 8090, containerPort: 80, protocol: "tcp" }]));
        expect(await answers(node, "web", BRIEFLY)).toEqual(NONE);
        expect(await node.ask(node.client, node4, 8090)).toMatch(/^web saw/);
        expect(await portsLeft(node)).toEqual([8090]);
        expectSuccess(await node.publish(pod, []));
        await node.removePod(pod);
        expect(await remains(node)).toEqual([]);
      }));
  });
});

/** Calls portmap under strace and returns the system calls made. */
async function traced(node: Node, pod: Pod, command: string, config: JsonObject): Promise<string[]> {
  const log = `${node.sandbox.directory}/strace.log`;
  const { containerId, ifname, netns } = pod;
  const environment = { plugin: "portmap", command, containerId, ifname, netns: netns.path };
  await execa(
    "nsenter",
    [`--net=${node.host.path}`, "--", "strace", "-f", "-qq", "-o", log, `${binDirectory}/portmap`],
    { env: callEnvironment(environment, binDirectory), extendEnv: false, input: JSON.stringify(config) },
  );
  return (await execa("cat", [log])).stdout.split("\n");
}

test("nftables: one process, one netfilter socket a call", () =>
  withNode({}, async (node) => {
    const pod = await node.bridged();
    for (const command of ["ADD", "CHECK", "DEL"]) {
      const calls = await traced(node, pod, command, node.portmapConfig(MAPPINGS, { prevResult: pod.bridged }));
      expect(calls.filter((line) => / (fork|vfork|clone|clone3)\(/.test(line))).toEqual([]);
      expect(calls.filter((line) => line.includes("execve("))).toHaveLength(1);
      expect(calls.filter((line) => line.includes("NETLINK_NETFILTER"))).toHaveLength(1);
    }
  }));

describe("no ports, no work", () => {
  test.each([
    ["ADD", null],
    ["ADD", []],
    ["CHECK", []],
    ["DEL", []],
  ] as const)("%s with %o opens no socket, starts no process and leaves no file", (command, mappings) =>
    withNode({}, async (node) => {
      const pod = await node.bridged();
      const before = await remains(node);
      const config = node.portmapConfig(mappings, { prevResult: pod.bridged });
      const calls = await traced(node, pod, command, config);
      const unwanted = calls.filter((line) =>
        / (socket|fork|vfork|clone|clone3|mkdir|mkdirat|setns|flock)\(/.test(line),
      );
      expect(unwanted).toEqual([]);
      expect(calls.filter((line) => line.includes("execve("))).toHaveLength(1);
      expect(calls.filter((line) => /O_CREAT/.test(line))).toEqual([]);
      expect(await remains(node)).toEqual(before);
    }),
  );
});

test("DEL finds an attachment's elements by their owner when its record was lost, whatever other records there are", () =>
  withNode({ portmap: { backend: "nftables" } }, async (node) => {
    const [lost, kept] = [await node.pod({ mappings: MAPPINGS.slice(0, 1) }), await node.pod({ mappings: OTHER })];
    const directory = (await recordsOf(node.host)) ?? "";
    for (const name of await readdir(directory)) {
      const text = await readFile(join(directory, name), "utf8");
      if (text.includes(` ${lost.containerId} `)) await rm(join(directory, name));
    }
    await node.removePod(lost, MAPPINGS.slice(0, 1));
    expect(await portsLeft(node)).toEqual([8190]);
    expectSuccess(await node.check(kept, OTHER));
    await node.removePod(kept, OTHER);
    expect(await remains(node)).toEqual([]);
  }));
