/** Every option of portmap by what it does to real traffic, and what is refused. */
import { describe, expect, test } from "vitest";
import { expectError, expectSuccess, type JsonObject, versionsFrom } from "../../testbed/harness.ts";
import { portsLeft, remains } from "./node-filter.ts";
import { addressOf, BACKENDS, type Mapping, withNode } from "./portmap-lab.ts";
import { BRIEFLY } from "./traffic.ts";

const WEB: Mapping = { hostPort: 8080, containerPort: 80, protocol: "tcp" };

describe.each(BACKENDS)("backend %s", (backend) => {
  const node4 = addressOf("node", 4);
  const node6 = addressOf("node", 6);

  test("snat: false leaves the source address alone: localhost and the pod itself get no answer", () =>
    withNode({ portmap: { backend, snat: false } }, async (node) => {
      const web = await node.pod({ label: "web", mappings: [WEB] });
      expect(await node.ask(node.client, node4, 8080)).toBe(`web saw ${addressOf("client", 4)}`);
      expect(await node.ask(node.client, node6, 8080)).toBe(`web saw ${addressOf("client", 6)}`);
      expect(await node.ask(node.host, node4, 8080)).toBe(`web saw ${node4}`);
      expect(await node.ask(node.host, "127.0.0.1", 8080, "tcp", BRIEFLY)).not.toContain("web saw");
      expect(await node.ask(web.netns, node4, 8080, "tcp", BRIEFLY)).not.toContain("web saw");
      expectSuccess(await node.check(web, [WEB]));
      await node.removePod(web, [WEB]);
      expect(await remains(node)).toEqual([]);
    }));

  test("without snat no link accepts packets of 127.0.0.0/8", () =>
    withNode({ portmap: { backend, snat: false } }, async (node) => {
      await node.pod({ label: "web", mappings: [WEB] });
      const values = await node.host.exec("sh", ["-c", "cat /proc/sys/net/ipv4/conf/*/route_localnet"]);
      expect(values).not.toContain("1");
    }));

  test("masqAll: the pod sees everybody as the node, and CHECK and DEL know of it", () =>
    withNode({ portmap: { backend, masqAll: true } }, async (node) => {
      const web = await node.pod({ label: "web", mappings: [WEB, { ...WEB, hostPort: 8082, hostIP: node4 }] });
      const other = await node.pod({ portmap: null, label: "other" });
      for (const family of [4, 6] as const) {
        const seen = `web saw ${addressOf("gateway", family)}`;
        expect(await node.ask(node.client, addressOf("node", family), 8080)).toBe(seen);
        expect(await node.ask(other.netns, addressOf("node", family), 8080)).toBe(seen);
        expect(await node.ask(web.netns, addressOf("node", family), 8080)).toBe(seen);
        expect(await node.ask(node.host, addressOf("node", family), 8080)).toBe(seen);
      }
      expect(await node.ask(node.client, node4, 8082)).toBe(`web saw ${addressOf("gateway", 4)}`);
      expect(await node.ask(node.host, "127.0.0.1", 8080)).toBe(`web saw ${addressOf("gateway", 4)}`);
      /* What does not go through the mapping keeps its address. */
      expect(await node.ask(node.client, web.v4, 80)).toBe(`web saw ${addressOf("client", 4)}`);
      expect(await node.ask(node.client, other.v6, 80)).toBe(`other saw ${addressOf("client", 6)}`);
      expectSuccess(await node.check(web, [WEB, { ...WEB, hostPort: 8082, hostIP: node4 }]));
      await node.removePod(web, [WEB]);
      expect(await remains(node)).toEqual([]);
    }));

  const CONDITIONS = {
    nftables: {
      conditionsV4: ["ip", "saddr", addressOf("client", 4)],
      conditionsV6: ["ip6", "saddr", addressOf("client", 6)],
      not: { conditionsV4: ["ip", "daddr", "!=", node4], conditionsV6: ["ip6 daddr != 2001:db8:1::/64"] },
    },
    iptables: {
      conditionsV4: ["-s", addressOf("client", 4)],
      conditionsV6: ["-s", addressOf("client", 6)],
      not: { conditionsV4: ["!", "-d", node4], conditionsV6: ["!", "-d", "2001:db8:1::/64"] },
    },
  }[backend];

  test("conditions hold for their own network's ports only", () =>
    withNode({ portmap: { backend } }, async (node) => {
      const { conditionsV4, conditionsV6, not } = CONDITIONS;
      const limited = { conditionsV4, conditionsV6 };
      const mappings = [WEB, { ...WEB, hostPort: 8082, hostIP: node4 }];
      const one = await node.pod({ label: "one", mappings, portmap: limited });
      await node.pod({ label: "two", mappings: [{ ...WEB, hostPort: 8090 }] });
      await node.pod({ label: "three", mappings: [{ ...WEB, hostPort: 8091 }], portmap: { ...not, name: "pwt-not" } });
      for (const family of [4, 6] as const) {
        const address = addressOf("node", family);
        expect(await node.ask(node.client, address, 8080)).toBe(`one saw ${addressOf("client", family)}`);
        expect(await node.ask(node.server, address, 8080, "tcp", BRIEFLY)).not.toContain("saw");
        expect(await node.ask(node.host, address, 8080, "tcp", BRIEFLY)).not.toContain("saw");
        expect(await node.ask(node.server, address, 8090)).toBe(`two saw ${addressOf("server", family)}`);
        expect(await node.ask(node.client, address, 8090)).toBe(`two saw ${addressOf("client", family)}`);
        expect(await node.ask(node.server, address, 8091, "tcp", BRIEFLY)).not.toContain("saw");
        const second = await node.ask(node.server, addressOf("second", family), 8091);
        expect(second).toBe(`three saw ${addressOf("server", family)}`);
      }
      expect(await node.ask(node.client, node4, 8082)).toMatch(/^one saw/);
      expect(await node.ask(node.server, node4, 8082, "tcp", BRIEFLY)).not.toContain("saw");
      expectSuccess(await node.check(one, mappings, limited));
      await node.removePod(one, mappings, { portmap: limited });
      expect(await portsLeft(node)).toEqual([8090, 8091]);
    }));

  test("conditions that cannot be read are refused, with the words in question, and nothing is left", () =>
    withNode({ portmap: { backend } }, async (node) => {
      const pod = await node.bridged();
      const bad = { nftables: ["ip", "saddr", "nonsense"], iptables: ["--no-such-option", "nonsense"] }[backend];
      const result = await node.publish(pod, [WEB], { conditionsV4: bad });
      expect(result.exitCode).toBe(1);
      expect(result.stdout).toMatch(/nonsense|no-such-option/);
      expect(await remains(node)).toEqual([]);
    }));

  test("a pod without IPv6 gets IPv4 mappings, and the other way round", () =>
    withNode({ portmap: { backend } }, async (node) => {
      for (const family of [4, 6] as const) {
        const subnet = family === 4 ? "10.88.0.0/24" : "fd88::/64";
        const ipam = { type: "host-local", dataDir: `${node.sandbox.dataDir}-${family}`, ranges: [[{ subnet }]] };
        const bridge = { ipam, bridge: `cni${family}`, name: `pwt-${family}` };
        const mappings = [WEB, { ...WEB, hostPort: 8082, hostIP: node4 }, { ...WEB, hostPort: 8083, hostIP: node6 }];
        const pod = await node.pod({ label: "web", bridge, mappings, portmap: { name: `pwt-${family}` } });
        expect(await node.ask(node.client, addressOf("node", family), 8080)).toMatch(/^web saw/);
        expect(await node.ask(node.client, addressOf("node", family === 4 ? 6 : 4), 8080)).toBe("refused");
        expect(await node.ask(node.client, node4, 8082)).toMatch(family === 4 ? /^web saw/ : /refused/);
        expect(await node.ask(node.client, node6, 8083)).toMatch(family === 6 ? /^web saw/ : /refused/);
        expectSuccess(await node.check(pod, mappings, { name: `pwt-${family}` }));
        await node.removePod(pod, mappings, { bridge, portmap: { name: `pwt-${family}` } });
        expect(await remains(node)).toEqual([]);
      }
    }));

  test.each(versionsFrom("0.3.0"))("version %s: the previous result is passed on as it came", (cniVersion) =>
    withNode({ portmap: { backend, cniVersion }, bridge: { cniVersion } }, async (node) => {
      for (const mappings of [[WEB], [], null]) {
        const pod = await node.bridged();
        expect(expectSuccess(await node.publish(pod, mappings))).toEqual(pod.bridged);
        await node.removePod(pod, mappings);
      }
    }),
  );

  test("other numbers of one pod: twenty ports, several of them to one of the container's", () =>
    withNode({ portmap: { backend } }, async (node) => {
      const mappings = Array.from({ length: 20 }, (_, index) => ({ ...WEB, hostPort: 8100 + index }));
      const web = await node.pod({ label: "web", mappings });
      for (const { hostPort } of mappings) {
        expect(await node.ask(node.client, node4, hostPort)).toMatch(/^web saw/);
        expect(await node.ask(node.client, node6, hostPort)).toMatch(/^web saw/);
      }
      expectSuccess(await node.check(web, mappings));
      await node.removePod(web, mappings);
      expect(await remains(node)).toEqual([]);
    }));
});

describe("options of the iptables backend", () => {
  test("markMasqBit is the bit of the mark", () =>
    withNode({ portmap: { backend: "iptables", markMasqBit: 10 } }, async (node) => {
      await node.pod({ label: "web", mappings: [WEB] });
      expect(await node.host.exec("iptables", ["-t", "nat", "-S"])).toContain("0x400/0x400");
      expect(await node.ask(node.host, "127.0.0.1", 8080)).toBe(`web saw ${addressOf("gateway", 4)}`);
    }));

  test("externalSetMarkChain marks instead of a chain of ours", () =>
    withNode({ portmap: { externalSetMarkChain: "KUBE-MARK-MASQ" } }, async (node) => {
      for (const command of ["iptables", "ip6tables"]) {
        for (const rule of [
          "-N KUBE-MARK-MASQ",
          "-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000",
          "-A POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE",
        ]) {
          await node.host.exec(command, ["-w", "-t", "nat", ...rule.split(" ")]);
        }
      }
      const web = await node.pod({ label: "web", mappings: [WEB] });
      const rules = await node.host.exec("iptables", ["-t", "nat", "-S"]);
      expect(rules).toContain("-j KUBE-MARK-MASQ");
      expect(rules).not.toMatch(/CNI-HOSTPORT-(SETMARK|MASQ)/);
      expect(await node.ask(node.host, "127.0.0.1", 8080)).toBe(`web saw ${addressOf("gateway", 4)}`);
      expect(await node.ask(web.netns, addressOf("node", 6), 8080)).toBe(`web saw ${addressOf("gateway", 6)}`);
      expect(await node.ask(node.client, addressOf("node", 4), 8080)).toBe(`web saw ${addressOf("client", 4)}`);
      await node.removePod(web, [WEB]);
      expect(await remains(node)).toEqual([]);
    }));

  test("a chain that does not exist is named", () =>
    withNode({ portmap: { externalSetMarkChain: "NO-SUCH-CHAIN" } }, async (node) => {
      const pod = await node.bridged();
      const result = await node.publish(pod, [WEB]);
      expectError(result, { code: 11, msg: /^ip6?tables has no chain NO-SUCH-CHAIN$/, details: /kube-proxy/ });
      expect(await remains(node)).toEqual([]);
    }));

  test("no backend given: nftables", () =>
    withNode({}, async (node) => {
      await node.pod({ label: "web", mappings: [WEB] });
      const tables = (await node.nft("list", "tables")).split("\n");
      expect(tables).toContain("table inet podwire");
      expect(tables.filter((table) => !table.endsWith(" podwire"))).toEqual([]);
      expect(await node.ask(node.client, addressOf("node", 4), 8080)).toMatch(/^web saw/);
    }));
});

describe("refused with code 7", () => {
  const at = (index: number, key: string) => new RegExp(`portMappings\\[${index}\\]\\.${key}`);
  const good: Mapping = { hostPort: 8081, containerPort: 80, protocol: "udp" };
  const MAPPINGS: readonly (readonly [string, JsonObject, RegExp])[] = [
    ["hostPort 0", { hostPort: 0, containerPort: 80 }, at(1, "hostPort")],
    ["no hostPort", { containerPort: 80 }, at(1, "hostPort")],
    ["hostPort 65536", { hostPort: 65536, containerPort: 80 }, at(1, "hostPort")],
    ["hostPort -1", { hostPort: -1, containerPort: 80 }, at(1, "hostPort")],
    ["hostPort 80.5", { hostPort: 80.5, containerPort: 80 }, at(1, "hostPort")],
    ["hostPort as text", { hostPort: "8080", containerPort: 80 }, at(1, "hostPort")],
    ["containerPort 0", { hostPort: 8080, containerPort: 0 }, at(1, "containerPort")],
    ["containerPort 70000", { hostPort: 8080, containerPort: 70000 }, at(1, "containerPort")],
    ["protocol icmp", { hostPort: 8080, containerPort: 80, protocol: "icmp" }, at(1, "protocol")],
    ["protocol as a number", { hostPort: 8080, containerPort: 80, protocol: 6 }, at(1, "protocol")],
    ["hostIP of words", { hostPort: 8080, containerPort: 80, hostIP: "localhost" }, at(1, "hostIP")],
    ["hostIP with a prefix", { hostPort: 8080, containerPort: 80, hostIP: "192.0.2.1/24" }, at(1, "hostIP")],
    ["hostIP of a multicast group", { hostPort: 8080, containerPort: 80, hostIP: "224.0.0.1" }, at(1, "hostIP")],
    ["one port twice", { hostPort: 8081, containerPort: 81, protocol: "udp" }, at(1, "hostPort")],
  ];

  test.each(MAPPINGS)("mapping: %s", (_name, mapping, message) =>
    withNode({}, async (node) => {
      const pod = await node.bridged();
      const before = await node.nft("list", "ruleset");
      const config = node.portmapConfig(null, {
        prevResult: pod.bridged,
        runtimeConfig: { portMappings: [good, mapping] },
      });
      expectError(await node.call("portmap", "ADD", pod, config), { code: 7, msg: message });
      expectError(await node.call("portmap", "CHECK", pod, config), { code: 7, msg: message });
      expect(await node.nft("list", "ruleset")).toBe(before);
      /* What cannot be added can always be deleted. */
      expectSuccess(await node.call("portmap", "DEL", pod, config));
    }),
  );

  const OPTIONS: readonly (readonly [string, JsonObject, RegExp])[] = [
    ["an unknown backend", { backend: "ipset" }, /backend.*ipset/],
    ["markMasqBit 32", { markMasqBit: 32 }, /markMasqBit.*32/i],
    ["markMasqBit -1", { markMasqBit: -1 }, /markMasqBit/i],
    [
      "both of markMasqBit and externalSetMarkChain",
      { markMasqBit: 3, externalSetMarkChain: "X" },
      /externalSetMarkChain/,
    ],
    ["snat as text", { snat: "yes" }, /snat/],
    ["conflicts of another kind", { conflicts: "first-wins" }, /conflicts.*first-wins/],
    ["conditions of the other backend", { backend: "nftables", conditionsV4: ["-s", "10.0.0.1"] }, /conditionsV4/],
    ["conditions of the other backend", { backend: "iptables", conditionsV6: ["ip6", "saddr", "::1"] }, /conditionsV6/],
    ["a mark chain with nftables", { backend: "nftables", externalSetMarkChain: "X" }, /externalSetMarkChain/],
    [
      "conditions of both languages",
      { conditionsV4: ["-s", "10.0.0.1"], conditionsV6: ["ip6", "saddr", "::1"] },
      /conditionsV6/,
    ],
  ];

  test.each(OPTIONS)("option: %s", (_name, options, message) =>
    withNode({}, async (node) => {
      const pod = await node.bridged();
      const before = await node.nft("list", "ruleset");
      expectError(await node.publish(pod, [WEB], options), { code: 7, msg: message });
      expect(await node.nft("list", "ruleset")).toBe(before);
    }),
  );

  test("no previous result", () =>
    withNode({}, async (node) => {
      const pod = await node.bridged();
      const result = await node.call("portmap", "ADD", pod, node.portmapConfig([WEB]));
      expectError(result, { code: 7, msg: /chained|prevResult/ });
    }));
});

describe("what a plugin before it says of the pod", () => {
  /** Results by the interfaces and addresses that they list, and whether it can be told which address is the pod's. */
  const RESULTS: readonly (readonly [string, (v4: string, netns: string) => JsonObject, boolean])[] = [
    ["no interfaces, an address", (v4) => ({ ips: [{ address: v4 }] }), true],
    [
      "the host's end alone, the address on it",
      (v4) => ({ interfaces: [{ name: "veth0" }], ips: [{ interface: 0, address: v4 }] }),
      true,
    ],
    [
      "the host's end alone, the address on none",
      (v4) => ({ interfaces: [{ name: "veth0" }], ips: [{ address: v4 }] }),
      true,
    ],
    [
      "the host's end alone, with the host's address",
      () => ({ interfaces: [{ name: "cni0" }], ips: [{ interface: 0, address: "10.88.0.1/24" }] }),
      false,
    ],
    [
      "both ends, the address on the host's",
      (v4, sandbox) => ({
        interfaces: [{ name: "veth0" }, { name: "eth0", sandbox }],
        ips: [{ interface: 0, address: v4 }],
      }),
      false,
    ],
    [
      "another interface of the container",
      (v4, sandbox) => ({ interfaces: [{ name: "net1", sandbox }], ips: [{ interface: 0, address: v4 }] }),
      false,
    ],
    ["no addresses", (_v4, sandbox) => ({ interfaces: [{ name: "eth0", sandbox }], ips: [] }), false],
    ["nothing", () => ({}), false],
  ];

  test.each(RESULTS)("%s: its port is published, or there is an error", (_name, result, told) =>
    withNode({}, async (node) => {
      const pod = await node.bridged({ label: "web" });
      const prevResult = { cniVersion: "1.1.0", ...result(`${pod.v4}/24`, pod.netns.path) };
      const added = await node.publish(pod, [WEB], { prevResult });
      if (told) {
        expectSuccess(added);
        expect(await node.ask(node.client, addressOf("node", 4), 8080)).toMatch(/^web saw/);
        return;
      }
      expectError(added, { code: 7, msg: /prevResult/ });
      expect(await portsLeft(node)).toEqual([]);
      /* Without ports there is nothing that it would have to know. */
      expectSuccess(await node.publish(pod, [], { prevResult }));
    }),
  );

  test("addresses of one IP version, ports of the other alone: an error", () =>
    withNode({}, async (node) => {
      const pod = await node.bridged();
      const prevResult = { cniVersion: "1.1.0", ips: [{ address: `${pod.v4}/24` }] };
      const six = { ...WEB, hostIP: "::" };
      expectError(await node.publish(pod, [six], { prevResult }), {
        code: 7,
        msg: /eth0 has no address of the IP version/,
      });
      expectSuccess(await node.publish(pod, [six, WEB], { prevResult }));
    }));
});
