import { describe, expect, test } from "vitest";
import { type Address, type Prefix, parseAddress, parsePrefix } from "../ip/address.ts";
import type { IptablesPlan } from "./iptables-plan.ts";
import {
  hostPortChain,
  hostPortPlan,
  type IptablesOptions,
  type IptablesOwner,
  type IptablesPort,
  masqueradeChainName,
  masqueradePlan,
  referenceChain,
} from "./iptables-rules.ts";

const owner = { network: "netA", containerId: "cont-a", ifname: "eth0" };
const options: Omit<IptablesOptions, "asked"> = {
  conditions: [],
  snat: true,
  masqAll: false,
  sameLink: false,
  localnetLink: "cni0",
  markMasqBit: 13,
  externalSetMarkChain: "",
  lastWins: false,
  listeners: [],
};

/** Rules with nothing asked for but the ports. */
function rulesOf(
  whose: IptablesOwner,
  pod: Prefix,
  ports: readonly IptablesPort[],
  more: Omit<IptablesOptions, "asked">,
): IptablesPlan {
  return hostPortPlan(whose, pod, ports, { ...more, asked: ports });
}

const prefix = (text: string): Prefix => parsePrefix(text) as Prefix;
const port = (protocol: string, hostPort: number, hostIp: string | null = null): IptablesPort => ({
  protocol,
  hostPort,
  containerPort: 80,
  hostIp: hostIp === null ? null : (parseAddress(hostIp) as Address),
});
const own = (plan: IptablesPlan): string[] => plan.rules.map((rule) => `${rule.chain} ${rule.text}`);
const shared = (plan: IptablesPlan): string[] =>
  plan.sharedRules.map((rule) => `${rule.table} ${rule.chain} ${rule.text}`);

describe("the names of chains", () => {
  test("are the reference's for a container's first interface", () => {
    expect(referenceChain("CNI-", "test", "1234")).toBe("CNI-2bbe0c48b91a7d1b8a6753a8");
    const first = { network: "n1", containerId: "a1", ifname: "eth0" };
    expect(masqueradeChainName(first)).toBe("CNI-122871badbca88afb988b196");
    expect(hostPortChain(first)).toBe("CNI-DN-122871badbca88afb988b");
    expect(hostPortChain(first)).toBe(referenceChain("CNI-DN-", "n1", "a1"));
  });

  test("are others for its other interfaces", () => {
    expect(hostPortChain({ ...owner, ifname: "net1" })).not.toBe(hostPortChain(owner));
    expect(hostPortChain({ ...owner, ifname: "net1" })).toHaveLength(28);
  });
});

describe("published ports", () => {
  const chain = "CNI-DN-409a410b0d69bceecdad9";
  const entry = '-m comment --comment "dnat name: \\"netA\\" id: \\"cont-a\\"" -m multiport';

  test("mark the pod itself and 127.0.0.1, then translate", () => {
    const plan = rulesOf(owner, prefix("10.77.0.2/24"), [port("tcp", 8080), port("udp", 53, "10.0.0.1")], options);
    expect(own(plan)).toEqual([
      `${chain} -s 10.77.0.2/32 -p tcp -m tcp --dport 8080 -j CNI-HOSTPORT-SETMARK`,
      `${chain} -s 127.0.0.1/32 -p tcp -m tcp --dport 8080 -j CNI-HOSTPORT-SETMARK`,
      `${chain} -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.77.0.2:80`,
      `${chain} -s 10.77.0.2/32 -d 10.0.0.1/32 -p udp -m udp --dport 53 -j CNI-HOSTPORT-SETMARK`,
      `${chain} -s 127.0.0.1/32 -d 10.0.0.1/32 -p udp -m udp --dport 53 -j CNI-HOSTPORT-SETMARK`,
      `${chain} -d 10.0.0.1/32 -p udp -m udp --dport 53 -j DNAT --to-destination 10.77.0.2:80`,
      `CNI-HOSTPORT-DNAT -p tcp ${entry} --dports 8080 -j ${chain}`,
      `CNI-HOSTPORT-DNAT -p udp ${entry} --dports 53 -j ${chain}`,
    ]);
    expect(shared(plan)).toEqual([
      "raw PREROUTING -s 127.0.0.0/8 -j CNI-HOSTPORT-LOCALNET",
      "raw PREROUTING -d 127.0.0.0/8 -j CNI-HOSTPORT-LOCALNET",
      "raw CNI-HOSTPORT-LOCALNET -i cni0 -j DROP",
      "nat PREROUTING ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT",
      "nat OUTPUT -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT",
      'nat POSTROUTING -m comment --comment "CNI portfwd requiring masquerade" -j CNI-HOSTPORT-MASQ',
      'nat CNI-HOSTPORT-SETMARK -m comment --comment "CNI portfwd masquerade mark" -j MARK --set-xmark 0x2000/0x2000',
      "nat CNI-HOSTPORT-MASQ -m mark --mark 0x2000/0x2000 -j MASQUERADE",
    ]);
    expect(plan.sharedChains.map((one) => `${one.table} ${one.name}`).sort()).toEqual([
      "nat CNI-HOSTPORT-DNAT",
      "nat CNI-HOSTPORT-MASQ",
      "nat CNI-HOSTPORT-SETMARK",
      "raw CNI-HOSTPORT-LOCALNET",
    ]);
  });

  test("know IPv6, where 127.0.0.1 has no counterpart", () => {
    const plan = rulesOf(owner, prefix("fd77::2/64"), [port("sctp", 1)], { ...options, sameLink: true });
    expect(own(plan).slice(0, 2)).toEqual([
      `${chain} -s fd77::/64 -p sctp -m sctp --dport 1 -j CNI-HOSTPORT-SETMARK`,
      `${chain} -p sctp -m sctp --dport 1 -j DNAT --to-destination [fd77::2]:80`,
    ]);
    expect(plan.sharedRules.every((rule) => rule.table === "nat")).toBe(true);
  });

  const marks: [string, Partial<IptablesOptions>, string[], number][] = [
    ["the subnet where replies do not pass here", { sameLink: true }, ["-s 10.77.0.0/24 ", "-s 127.0.0.1/32 "], 8],
    ["no localhost where it gets nowhere", { localnetLink: "" }, ["-s 10.77.0.2/32 "], 5],
    ["everybody with masqAll", { masqAll: true }, [""], 8],
    ["nobody without snat", { snat: false }, [], 5],
    ["the highest bit", { markMasqBit: 31, masqAll: true }, [""], 8],
  ];
  test.each(marks)("mark %s", (_, change, sources, sharedCount) => {
    const plan = rulesOf(owner, prefix("10.77.0.2/24"), [port("tcp", 1)], { ...options, ...change });
    const marking = own(plan).filter((rule) => rule.endsWith("-j CNI-HOSTPORT-SETMARK"));
    expect(marking).toEqual(
      sources.map((source) => `${chain} ${source}-p tcp -m tcp --dport 1 -j CNI-HOSTPORT-SETMARK`),
    );
    expect(plan.sharedRules).toHaveLength(sharedCount);
    if (change.markMasqBit === 31) expect(shared(plan).join()).toContain("--mark 0x80000000/0x80000000");
  });

  test("for all addresses leave out those that programs listen on by themselves, before anything else of the port", () => {
    const listeners = [
      { protocol: "tcp", hostPort: 8080, address: parseAddress("127.0.0.53") as Address },
      { protocol: "udp", hostPort: 8080, address: parseAddress("127.0.0.54") as Address },
      { protocol: "tcp", hostPort: 8081, address: parseAddress("10.0.0.2") as Address },
      { protocol: "tcp", hostPort: 8080, address: parseAddress("fd00::2") as Address },
    ];
    const ports = [port("tcp", 8080), port("tcp", 8081, "10.0.0.1")];
    const plan = rulesOf(owner, prefix("10.77.0.2/24"), ports, { ...options, snat: false, listeners });
    expect(own(plan).slice(0, 3)).toEqual([
      `${chain} -d 127.0.0.53/32 -p tcp -m tcp --dport 8080 -j RETURN`,
      `${chain} -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.77.0.2:80`,
      `${chain} -d 10.0.0.1/32 -p tcp -m tcp --dport 8081 -j DNAT --to-destination 10.77.0.2:80`,
    ]);
  });

  test("use somebody else's chain for marking instead of ours", () => {
    const plan = rulesOf(owner, prefix("10.77.0.2/24"), [port("tcp", 1)], {
      ...options,
      externalSetMarkChain: "KUBE-MARK-MASQ",
    });
    expect(own(plan)[0]).toBe(`${chain} -s 10.77.0.2/32 -p tcp -m tcp --dport 1 -j KUBE-MARK-MASQ`);
    expect(plan.sharedRules).toHaveLength(5);
  });

  test("are led to by 15 a rule, with the conditions, at the end or the beginning", () => {
    const ports = Array.from({ length: 31 }, (_, i) => port("tcp", 1000 + i));
    const plan = rulesOf(owner, prefix("10.77.0.2/24"), ports, {
      ...options,
      lastWins: true,
      conditions: ["!", "-s", "1.2.3.4", "-m", "comment", "--comment", 'say "hi\\'],
    });
    const entries = plan.rules.filter((rule) => rule.chain === "CNI-HOSTPORT-DNAT");
    expect(entries).toHaveLength(3);
    expect(entries.every((rule) => rule.first)).toBe(true);
    expect(entries[2]?.text).toBe(
      `-p tcp ${entry} --dports 1030 ! -s 1.2.3.4 -m comment --comment "say \\"hi\\\\" -j ${chain}`,
    );
  });

  test("have comments that iptables takes, however long the names", () => {
    const long = { network: "n".repeat(200), containerId: "c".repeat(200), ifname: "eth0" };
    const plan = rulesOf(long, prefix("10.77.0.2/24"), [port("tcp", 1)], options);
    const comments = plan.rules.map((rule) => /--comment "(.*)" -/.exec(rule.text)?.[1]?.replaceAll("\\", "") ?? "");
    expect(comments.map((text) => text.length)).toEqual([0, 0, 0, 255]);
    expect(comments[3]).toMatch(/^dnat name: .*\.\.\.$/);
  });
});

test("masquerading exempts the pod's networks and the cluster's of its IP version, and multicast", () => {
  const pod = [prefix("10.77.0.2/24"), prefix("10.77.0.9/24")];
  const plan = masqueradePlan(owner, pod, [prefix("10.244.0.0/16"), prefix("fd00::/8")], 4);
  const comment = '-m comment --comment "if: \\"eth0\\" name: \\"netA\\" id: \\"cont-a\\""';
  const jump = '-m comment --comment "name: \\"netA\\" id: \\"cont-a\\"" -j CNI-409a410b0d69bceecdad9c6e';
  expect(own(plan)).toEqual([
    `CNI-409a410b0d69bceecdad9c6e -d 10.77.0.0/24 ${comment} -j ACCEPT`,
    `CNI-409a410b0d69bceecdad9c6e -d 10.244.0.0/16 ${comment} -j ACCEPT`,
    `CNI-409a410b0d69bceecdad9c6e ! -d 224.0.0.0/4 ${comment} -j MASQUERADE --random-fully`,
    `POSTROUTING -s 10.77.0.2/32 ${jump}`,
    `POSTROUTING -s 10.77.0.9/32 ${jump}`,
  ]);
  expect(own(masqueradePlan(owner, [prefix("fd77::2/64")], [prefix("fd00::/8")], 6))[2]).toContain("! -d ff00::/8");
});
