/** The commands of each kind, as a person would type them. */
import { expect, test } from "vitest";
import { masqueradePlan } from "../filter/iptables-rules.ts";
import { emptyRecord, type FilterRecord, ownerComment } from "../filter/record.ts";
import { NO_NAMESPACE } from "../host/namespace.ts";
import { type Prefix, parseAddress, parsePrefix } from "../ip/address.ts";
import { NO_SETTINGS } from "./former.ts";
import { type KernelObject, kindOf } from "./objects.ts";

const NETNS = "/run/netns/blue";
const prefix = (text: string): Prefix => parsePrefix(text) as Prefix;
const mac = Uint8Array.of(2, 0, 0, 0, 0, 7);
const bucket = { rateBytesPerSecond: 125_000, burstBytes: 30_280, queueBytes: 6312, packetBytes: 1514 };
const queue = { packets: 32, targetUs: 12_112, intervalUs: 100_000 };
const owner = { network: "net", containerId: "id", ifname: "eth0", plugin: "portmap" };
const inside = (line: string) => `nsenter --net=${NETNS} ${line}`;

const record: FilterRecord = {
  ...emptyRecord(owner, NO_NAMESPACE, 0),
  chains: [{ table: "inet", name: "conditions-1", rules: ["ip saddr 192.0.2.0/24 goto translate"] }],
  ports: [{ protocol: "tcp", hostPort: 8080, hostIp: null, pod: prefix("10.88.0.5/32").address, containerPort: 80 }],
  elements: [{ table: "inet", set: "localnet_links", key: "cni0", data: "" }],
};
const masquerade = masqueradePlan(owner, [prefix("10.88.0.5/24")], [], 4);

const ADDRESS = { kind: "address" } as const;

const CASES: readonly (readonly [KernelObject, readonly string[]])[] = [
  [
    {
      ...{ kind: "veth", name: "veth1", mac, bridge: "cni0", trunk: false, mtu: 1450, containerName: "eth0" },
      ...{ containerMac: mac, containerMtu: 1450, alias: "podwire net id eth0" },
    },
    [
      "ip link add veth1 address 02:00:00:00:00:07 mtu 1450 group 7368548 master cni0 type veth peer name eth0 address 02:00:00:00:00:07 mtu 1450 netns /run/netns/blue",
    ],
  ],
  [
    {
      ...{ kind: "port", name: "veth1", alias: "podwire net id eth0", hairpin: true, isolated: false },
      ...{ vlans: [{ first: 5, last: 5, pvid: true, untagged: true }], dropDefaultVlan: true },
    },
    [
      "ip link set veth1 up alias 'podwire net id eth0'",
      "bridge link set dev veth1 hairpin on isolated off",
      "bridge vlan delete dev veth1 vid 1",
      "bridge vlan add dev veth1 vid 5 pvid untagged",
    ],
  ],
  [
    { kind: "sysctl", where: "container", path: ["net", "ipv6", "conf", "eth0.5", "accept_ra"], value: "0" },
    [inside("sysctl -w net/ipv6/conf/eth0.5/accept_ra=0")],
  ],
  [
    { kind: "required-sysctl", where: "container", path: ["net", "ipv4", "tcp_rmem"], value: "1 2 3", former: "" },
    [inside("sysctl -w 'net/ipv4/tcp_rmem=1 2 3'")],
  ],
  [
    {
      ...{ kind: "link-attributes", where: "container", name: "eth0", former: NO_SETTINGS },
      wanted: { ...NO_SETTINGS, mac: "02:00:00:00:00:07", mtu: 1400, transmitQueue: 0 },
    },
    [inside("ip link set dev eth0 address 02:00:00:00:00:07 mtu 1400 txqueuelen 0")],
  ],
  [{ kind: "up", where: "container", name: "eth0", promiscuous: false, alias: "" }, [inside("ip link set eth0 up")]],
  [{ kind: "up", where: "host", name: "cni0", promiscuous: true, alias: "" }, ["ip link set cni0 up promisc on"]],
  [
    { ...ADDRESS, where: "container", link: "eth0", address: prefix("fd77::5/64"), nodad: true, prefixRoute: true },
    [inside("ip address add fd77::5/64 dev eth0 nodad")],
  ],
  [
    { ...ADDRESS, where: "host", link: "veth1", address: prefix("10.88.0.1/32"), nodad: true, prefixRoute: false },
    ["ip address add 10.88.0.1/32 dev veth1 noprefixroute"],
  ],
  [
    { kind: "pod-route", link: "veth1", address: prefix("10.88.0.5/32").address },
    ["ip route add 10.88.0.5 dev veth1 proto static scope host"],
  ],
  [
    { kind: "pod-route", link: "veth1", address: prefix("fd77::5/128").address },
    ["ip route add fd77::5 dev veth1 proto static"],
  ],
  [{ kind: "carrier", where: "host", link: "veth1" }, []],
  [
    { kind: "up", where: "host", name: "veth1", promiscuous: false, alias: "podwire net id eth0" },
    ["ip link set veth1 up alias 'podwire net id eth0'"],
  ],
  [
    {
      kind: "route",
      link: "eth0",
      route: {
        ...{ dst: prefix("192.0.2.0/24"), gateway: parseAddress("10.88.0.1"), mtu: 1400, advmss: 0 },
        ...{ priority: 50, table: 100, scope: 0, onlink: true, source: parseAddress("10.88.0.5") },
      },
    },
    [
      inside(
        "ip route add 192.0.2.0/24 via 10.88.0.1 dev eth0 proto static src 10.88.0.5 table 100 metric 50 mtu 1400 onlink",
      ),
    ],
  ],
  [
    { kind: "gateways", link: "cni0", addresses: [prefix("10.88.0.1/16")], bridge: "cni0", port: "", force: false },
    ["ip address replace 10.88.0.1/16 dev cni0"],
  ],
  [
    { kind: "forwarding", family: 4, link: "cni0" },
    ["sysctl -w net/ipv4/ip_forward=1", "sysctl -w net/ipv4/conf/cni0/forwarding=1"],
  ],
  [
    { kind: "filter", record, lastWins: false },
    [
      "nft 'add chain inet podwire conditions-1; flush chain inet podwire conditions-1; add rule inet podwire conditions-1 ip saddr 192.0.2.0/24 goto translate'",
      `nft 'add element inet podwire hostports4 { tcp . 8080 comment "${ownerComment(owner)}" : 10.88.0.5 . 80 }'`,
      "nft 'add element inet podwire localnet_links { cni0 }'",
    ],
  ],
  [
    { kind: "shaper", where: "host", link: "veth1", bucket, queue },
    [
      "tc qdisc replace dev veth1 root handle 7077: tbf rate 1000000bit burst 30280b limit 6312b peakrate 140737488355328bit mtu 1514b",
      "tc qdisc replace dev veth1 parent 7077:1 fq_codel limit 32 target 12112us interval 100000us || true # a kernel without fq_codel has one queue for all",
    ],
  ],
  [
    {
      ...{ kind: "redirect", where: "host", link: "veth1", ifb: "ifbe1", hook: "ingress" },
      matches: [
        { rank: 0, subnet: prefix("10.0.0.0/8"), end: "destination", shaped: false },
        { rank: 2, subnet: null, end: "destination", shaped: true },
      ],
    },
    [
      "tc qdisc add dev veth1 clsact",
      "tc filter add dev veth1 ingress pref 60000 protocol ip u32 match ip dst 10.0.0.0/8 classid 1:1",
      "tc filter add dev veth1 ingress pref 60002 protocol all matchall action mirred egress redirect dev ifbe1 || tc filter add dev veth1 ingress pref 60002 protocol all u32 match u32 0 0 action mirred egress redirect dev ifbe1",
    ],
  ],
  [
    {
      kind: "flows",
      ports: [
        {
          ...{ protocol: "udp", hostPort: 53, hostIp: null, containerPort: 53 },
          pod: prefix("10.88.0.5/32").address,
        },
      ],
    },
    ["conntrack -D -f ipv4 -p udp --orig-port-dst 53 || true # none is no failure"],
  ],
];

test.each(CASES)("$kind", (object, expected) => {
  expect(kindOf(object).commands(NETNS)).toEqual(expected);
});

test("the rules of iptables", () => {
  const lines = kindOf({
    kind: "filter",
    record: { ...record, chains: [], ports: [], elements: [], iptables: [masquerade] },
    lastWins: false,
  }).commands(NETNS);
  expect(lines[0]).toMatch(/^iptables -t nat -N CNI-[0-9a-f]+$/);
  expect(lines.slice(1).every((line) => line.startsWith("iptables -t nat -"))).toBe(true);
});
