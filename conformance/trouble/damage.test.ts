/**
 * Files of the plugins' own that are something else, or cannot be read: one of them may stop one attachment, never a
 * network, no call waits for one, and nothing they lead to is read or written.
 */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { call, expectError, expectSuccess } from "../../testbed/harness.ts";
import { type Network, withNetwork } from "../plugins/host-local-harness.ts";
import { remains } from "../plugins/node-filter.ts";
import { BACKENDS, type Mapping, recordsOf, withNode } from "../plugins/portmap-lab.ts";
import { ALL_KINDS, isUntouched, type Kind, plant } from "./planting.ts";

const SUBNET = { subnet: "10.9.0.0/24" };
const GC_ALL = { more: { "cni.dev/valid-attachments": [] } };

const LINKS: readonly Kind[] = ["a link", "a link to nothing", "a link to itself"];
const DIRECTORIES: readonly Kind[] = ["a directory", "a directory with a file"];

/** The files of a network, and what in their place makes calls fail, or only ADD, until somebody has removed it. */
const FILES: readonly {
  readonly name: string;
  readonly path: (network: Network, record: string) => string;
  readonly stops: readonly Kind[];
  readonly stopsAdd: readonly Kind[];
}[] = [
  { name: "a lease", path: ({ leases }) => join(leases, "10.9.0.2"), stops: [], stopsAdd: [] },
  { name: "a record", path: ({ own }, record) => join(own, record), stops: [], stopsAdd: [] },
  { name: "the index", path: ({ own }) => join(own, "index"), stops: LINKS, stopsAdd: [] },
  {
    name: "the lock",
    path: ({ leases }) => join(leases, "lock"),
    stops: [...LINKS, ...DIRECTORIES, "a socket"],
    stopsAdd: [],
  },
  { name: "the last address", path: ({ leases }) => join(leases, "last_reserved_ip.0"), stops: [], stopsAdd: LINKS },
  { name: "a lease being written", path: ({ leases }) => join(leases, ".new"), stops: [], stopsAdd: DIRECTORIES },
  { name: "a record being written", path: ({ own }) => join(own, ".new"), stops: [], stopsAdd: DIRECTORIES },
];

describe.each(FILES)("host-local: $name is", ({ path, stops, stopsAdd }) => {
  test.each(ALL_KINDS)("%s", (kind) =>
    withNetwork(SUBNET, async (network) => {
      for (const id of ["c1", "c2"]) await network.add(id);
      const record = Object.entries(await network.records()).find(([, { container }]) => container === "c1")?.[0] ?? "";
      const target = join(network.directory, "target");
      const planted = path(network, record);
      await plant(kind, planted, target);
      for (const [verb, id] of [
        ["ADD", "c3"],
        ["STATUS", ""],
        ["DEL", "c1"],
        ["DEL", "c3"],
      ] as const) {
        const result = await network.call(verb, id);
        expect(result.signal, `${verb} did not come to an end`).toBeNull();
        if (verb === "STATUS") continue;
        if (stops.includes(kind) || (verb === "ADD" && stopsAdd.includes(kind))) {
          expectError(result, { code: 5 });
          expect(String(result.json?.msg)).toContain(network.leases);
        } else {
          expectSuccess(result);
          if (verb === "ADD") expect((await network.leaseFiles())["10.9.0.4"]).toBe("c3\r\neth0");
        }
        expect((await network.leaseFiles())["10.9.0.3"]).toBe("c2\r\neth0");
      }
      if (!stops.includes(kind)) {
        expectSuccess(await network.call("GC", "", GC_ALL));
        /* Somebody's directory is not removed. */
        const inTheWay = planted === join(network.leases, "10.9.0.2") && DIRECTORIES.includes(kind);
        expect(await network.addresses()).toEqual(inTheWay ? ["10.9.0.2"] : []);
      }
      expect(await isUntouched(target)).toBe(true);
      await rm(planted, { recursive: true, force: true });
      expectSuccess(await network.call("GC", "", GC_ALL));
      expect(await network.addresses()).toEqual([]);
      expectSuccess(await network.call("ADD", "c4"));
    }),
  );
});

describe("host-local: a disk that does not give away", () => {
  /** Calls with each read of one file failing. */
  const failing = (network: Network, path: string, command: string, containerId: string, more = {}) =>
    call({
      plugin: "host-local",
      command,
      containerId,
      netns: "/run/netns/none",
      ifname: "eth0",
      config: network.config(more),
      through: ["/usr/bin/strace", "-o", "/dev/null", "-P", path, "-e", "inject=pread64:error=EIO"],
    });

  test("a lease: its address is given to nobody, and the others go on", () =>
    withNetwork(SUBNET, async (network) => {
      for (const id of ["c1", "c2"]) await network.add(id);
      /* As after a reboot: all leases are looked at. */
      await rm(join(network.own, "index"));
      const lease = join(network.leases, "10.9.0.2");
      const added = await failing(network, lease, "ADD", "c3");
      expectSuccess(added);
      expect(added.stderr).toContain(`${lease} cannot be read`);
      expectSuccess(await failing(network, lease, "DEL", "c3"));
      expectSuccess(await failing(network, lease, "DEL", "c2"));
      expectError(await failing(network, lease, "CHECK", "c1"), { code: 101, details: /10\.9\.0\.2.*cannot be read/ });
      const valid = [{ containerID: "c1", ifname: "eth0" }];
      expectSuccess(await failing(network, lease, "GC", "", { more: { "cni.dev/valid-attachments": valid } }));
      expect(await network.leaseFiles()).toEqual({ "10.9.0.2": "c1\r\neth0" });
      /* The record tells whose it is. */
      expectSuccess(await failing(network, lease, "DEL", "c1"));
      expect(await network.addresses()).toEqual([]);
    }));

  test("a lease without a record: GC leaves it, and the next call that can read it knows it again", () =>
    withNetwork(SUBNET, async (network) => {
      await network.add("c1");
      await rm(network.own, { recursive: true });
      const lease = join(network.leases, "10.9.0.2");
      expectSuccess(await failing(network, lease, "GC", "", GC_ALL));
      expectSuccess(await failing(network, lease, "DEL", "c1"));
      expect(await network.addresses()).toEqual(["10.9.0.2"]);
      await network.del("c1");
      expect(await network.addresses()).toEqual([]);
    }));

  test("a record: the lease tells whose it is", () =>
    withNetwork(SUBNET, async (network) => {
      await network.add("c1");
      const [record = ""] = Object.keys(await network.records());
      expectSuccess(await failing(network, join(network.own, record), "DEL", "c1"));
      expect(await network.addresses()).toEqual([]);
    }));
});

describe.each(BACKENDS)("portmap (%s): a record is", (backend) => {
  const ports = (index: number): Mapping[] => [{ hostPort: 8080 + index, containerPort: 80, protocol: "tcp" }];

  test.each<Kind>(["a torn file", "a directory with a file", "a link", "a pipe", "a device that never ends"])(
    "%s",
    (kind) =>
      withNode({ portmap: { backend } }, async (node) => {
        const first = await node.bridged();
        const second = await node.bridged();
        const records = (await recordsOf(node.host)) ?? "";
        const target = join(node.sandbox.directory, "target");
        const third = await node.bridged();
        expectSuccess(await node.publish(second, ports(2)));
        const known = await remains(node);
        expectSuccess(await node.publish(first, ports(1)));
        const own = (await remains(node)).filter((line) => line.startsWith("record ") && !known.includes(line));
        expect(own).toHaveLength(1);
        const planted = join(records, own[0]?.slice("record ".length) ?? "");
        await plant(kind, planted, target);
        expectSuccess(await node.publish(third, ports(3)));
        expectSuccess(await node.check(second, ports(2)));
        expectSuccess(await node.call("portmap", "STATUS", first, node.portmapConfig(null)));
        await node.repair();
        for (const pod of [third, second, first]) await node.unpublish(pod, ports(1));
        const gc = node.portmapConfig(null, { "cni.dev/valid-attachments": [] });
        expectSuccess(await node.call("portmap", "GC", first, gc));
        expect(await isUntouched(target)).toBe(true);
        await rm(planted, { recursive: true, force: true });
        expect(await remains(node)).toEqual([]);
      }),
  );
});
