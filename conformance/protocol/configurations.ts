/** Valid configurations of every plugin with whatever options chance gives: what the fuzzing spoils. */
import type { Random } from "./random.ts";

/** Where the calls of a batch may do something. */
export interface Places {
  readonly bin: string;
  /** A directory with the delegate `echo`: it prints FUZZ_OUTPUT and ends with FUZZ_STATUS. */
  readonly delegates: string;
  readonly netns: string;
  readonly dataDir: string;
  /** A list of peers. */
  readonly peersFile: string;
}

/** Any JSON value. */
export type Value = null | boolean | number | string | Value[] | { [key: string]: Value };

/** A valid configuration, fuller than any real one. */
export function configuration(
  random: Random,
  plugin: string,
  version: string,
  places: Places,
): { [key: string]: Value } {
  const v4 = `10.${random.below(200)}.${random.below(250)}.0/24`;
  const v6 = `fd00:${random.below(9999)}::/64`;
  const ipam: { [key: string]: Value } = {
    type: "host-local",
    dataDir: places.dataDir,
    routes: [
      { dst: "0.0.0.0/0" },
      { dst: "10.250.0.0/16", gw: v4.replace(".0/24", ".1"), mtu: 1400, priority: 10, table: 100 },
    ],
  };
  if (random.chance(0.5)) ipam.subnet = v4;
  else
    ipam.ranges = [
      [{ subnet: v4, rangeStart: v4.replace(".0/24", ".10"), rangeEnd: v4.replace(".0/24", ".200") }],
      [{ subnet: v6 }],
    ];
  if (random.chance(0.2)) ipam.gateway = v4.replace(".0/24", ".1");
  if (random.chance(0.1)) ipam.resolvConf = "/etc/resolv.conf";
  const config: { [key: string]: Value } = { cniVersion: version, name: `net${random.below(3)}`, type: plugin };
  if (plugin === "bridge") {
    config.bridge = `br${random.below(3)}`;
    for (const key of [
      "isGateway",
      "isDefaultGateway",
      "forceAddress",
      "hairpinMode",
      "promiscMode",
      "enabledad",
      "portIsolation",
    ]) {
      if (random.chance(0.2)) config[key] = random.chance(0.7);
    }
    if (random.chance(0.2)) config.mtu = 1400;
    if (random.chance(0.05)) config.vlan = 100;
    if (random.chance(0.05)) config.vlanTrunk = [{ minID: 10, maxID: 20 }, { id: 30 }];
    if (random.chance(0.2)) config.ipMasq = true;
    if (random.chance(0.1)) config.nonMasqueradeCIDRs = ["10.0.0.0/8", "fd00::/8"];
    if (random.chance(0.1)) config.macspoofchk = true;
    if (random.chance(0.1)) config.ipSpoofCheck = true;
    if (random.chance(0.2)) config.dns = { nameservers: ["10.0.0.53"], domain: "x", search: ["y"], options: ["z"] };
    if (random.chance(0.2)) config.runtimeConfig = { mac: "02:00:00:00:00:01", ips: ["10.1.2.3/24"] };
    if (random.chance(0.2)) config.args = { cni: { mac: "02:00:00:00:00:02", ips: ["10.1.2.3"] } };
    if (random.chance(0.7)) config.ipam = ipam;
  }
  if (plugin === "host-local") config.ipam = ipam;
  if (plugin === "static") Object.assign(config, named(random));
  if (plugin === "ptp") {
    config.ipam = random.chance(0.3) ? (named(random).ipam ?? null) : ipam;
    if (random.chance(0.2)) config.mtu = 1400;
    if (random.chance(0.2)) config.ipMasq = true;
    if (random.chance(0.1)) config.nonMasqueradeCIDRs = ["10.0.0.0/8", "fd00::/8"];
    if (random.chance(0.2)) config.ipSpoofCheck = true;
    if (random.chance(0.2)) config.dns = { nameservers: ["10.0.0.53"], domain: "x", search: ["y"], options: ["z"] };
  }
  if (plugin === "portmap") Object.assign(config, published(random));
  if (plugin === "bandwidth") Object.assign(config, limits(random));
  if (plugin === "firewall") Object.assign(config, accepted(random));
  if (plugin === "tuning") Object.assign(config, tuned(random, places));
  if (plugin === "vxlan-overlay") Object.assign(config, overlay(random, v4, places));
  if (random.chance(0.3)) config.prevResult = previous(version);
  if (random.chance(0.2))
    config["cni.dev/valid-attachments"] = [
      { containerID: "c1", ifname: "eth0" },
      { containerID: "c2", ifname: "net1" },
    ];
  return config;
}

/** static's part of a configuration. */
function named(random: Random): { [key: string]: Value } {
  const addresses: Value[] = [{ address: `10.${random.below(200)}.1.5/24`, gateway: "10.1.1.1" }];
  if (random.chance(0.5)) addresses.push({ address: "fd00:7::5/64" });
  if (random.chance(0.2)) addresses.push({ address: "192.0.2.5/32" });
  const routes: Value[] = random.chance(0.5) ? [{ dst: "0.0.0.0/0" }] : [{ dst: "10.250.0.0/16", mtu: 1400, table: 7 }];
  const ipam: { [key: string]: Value } = { type: "static", addresses, routes };
  if (random.chance(0.3)) ipam.dns = { nameservers: ["10.0.0.53"], domain: "x", search: ["y"], options: ["z"] };
  const config: { [key: string]: Value } = { ipam };
  if (random.chance(0.2)) config.runtimeConfig = { ips: ["10.1.2.3/24", "fd00::9/64"] };
  if (random.chance(0.2)) config.args = { cni: { ips: ["10.1.2.4/24"] } };
  return config;
}

/** portmap's part of a configuration. The backend is nftables: iptables would take its time. */
function published(random: Random): { [key: string]: Value } {
  const portMappings: Value[] = [];
  for (let n = random.below(4); n > 0; n -= 1) {
    const mapping: { [key: string]: Value } = { hostPort: 8000 + random.below(20), containerPort: 80 };
    if (random.chance(0.7)) mapping.protocol = random.pick(["tcp", "udp", "sctp"]);
    if (random.chance(0.3)) mapping.hostIP = random.pick(["0.0.0.0", "::", "127.0.0.1", "10.0.0.1", "fd00::1"]);
    portMappings.push(mapping);
  }
  const config: { [key: string]: Value } = { backend: "nftables", runtimeConfig: { portMappings } };
  if (random.chance(0.2)) config.snat = random.chance(0.5);
  if (random.chance(0.1)) config.masqAll = true;
  if (random.chance(0.2)) config.conflicts = random.pick(["refuse", "last-wins"]);
  if (random.chance(0.2)) config.conditionsV4 = ["ip", "saddr", "!=", "{ 10.0.0.0/8, 192.0.2.1 }", "mark", "0x10"];
  if (random.chance(0.1)) config.conditionsV6 = ["ip6", "saddr", "fd00::/8", "tcp", "sport", "1000-2000"];
  return config;
}

/** bandwidth's part of a configuration. */
function limits(random: Random): { [key: string]: Value } {
  const config: { [key: string]: Value } = {};
  if (random.chance(0.5))
    Object.assign(config, { ingressRate: 1_000_000, ingressBurst: random.pick([80_000, 4294967295]) });
  if (random.chance(0.3)) Object.assign(config, { egressRate: 8000, egressBurst: 8_000_000 });
  if (random.chance(0.2)) config.latency = 50;
  if (random.chance(0.2)) config.unshapedSubnets = ["10.0.0.0/8", "fd00::/8"];
  if (random.chance(0.5)) {
    config.runtimeConfig = {
      bandwidth: { ingressRate: 2_000_000, ingressBurst: 160_000, egressRate: 0, egressBurst: 0 },
    };
  }
  return config;
}

/** firewall's part of a configuration. */
function accepted(random: Random): { [key: string]: Value } {
  const config: { [key: string]: Value } = {};
  if (random.chance(0.3)) config.backend = random.pick(["iptables", "firewalld", ""]);
  if (random.chance(0.5)) config.ingressPolicy = random.pick(["open", "same-bridge", "isolated"]);
  if (random.chance(0.1)) config.iptablesAdminChainName = "PEOPLE-S";
  if (random.chance(0.1)) config.firewalldZone = "trusted";
  if (random.chance(0.1)) config.forwardMarkBit = random.pick([0, 12, 31]);
  return config;
}

/** tuning's part of a configuration. */
function tuned(random: Random, places: Places): { [key: string]: Value } {
  const config: { [key: string]: Value } = { dataDir: `${places.dataDir}/tuning` };
  if (random.chance(0.5)) {
    config.sysctl = { "net.ipv4.conf.IFNAME.arp_announce": random.pick(["0", "1", "2"]), "net/core/somaxconn": "500" };
  }
  if (random.chance(0.3)) config.mac = "02:00:00:00:00:0a";
  if (random.chance(0.3)) config.mtu = random.pick([1280, 1400, 1500]);
  if (random.chance(0.3)) config.txQLen = random.pick([0, 77]);
  for (const key of ["promisc", "allmulti"]) if (random.chance(0.3)) config[key] = random.chance(0.5);
  if (random.chance(0.2)) config.runtimeConfig = { mac: "02:00:00:00:00:0b" };
  if (random.chance(0.3)) {
    const more = { "net.ipv4.conf.IFNAME.arp_filter": "1" };
    config.args = { cni: { sysctl: more, mac: "02:00:00:00:00:0c", mtu: 1300, txQLen: 5, promisc: true } };
  }
  return config;
}

/** vxlan-overlay's part of a configuration; its pods are those of `previous` now and then. */
function overlay(random: Random, v4: string, places: Places): { [key: string]: Value } {
  const own = random.chance(0.5) ? "10.1.2.0/24" : v4;
  const config: { [key: string]: Value } = { podCIDRs: random.chance(0.3) ? [own, "fd44:0:0:1::/64"] : [own] };
  if (random.chance(0.5)) config.peersFile = places.peersFile;
  else config.peers = [{ nodeIP: "192.0.2.3", podCIDRs: ["10.244.3.0/24"], mac: "02:00:00:00:00:33" }];
  if (random.chance(0.3)) config.vni = 1 + random.below(3);
  if (random.chance(0.1)) config.port = 4789;
  if (random.chance(0.3)) config.underlay = random.pick(["192.0.2.1", "lo"]);
  if (random.chance(0.3)) config.datapath = random.pick(["classic", "gpe"]);
  if (random.chance(0.3)) config.clusterCIDRs = ["10.0.0.0/8", "fd44::/32"];
  if (random.chance(0.1)) config.nonMasqueradeCIDRs = ["192.0.2.0/24"];
  for (const key of ["directRouting", "pmtud", "peersOnly"]) {
    if (random.chance(0.1)) config[key] = random.chance(0.5);
  }
  if (random.chance(0.1)) config.mtu = 1300;
  if (random.chance(0.3)) {
    config.delegate = random.chance(0.5) ? {} : { type: "bridge", bridge: "br9", ipMasq: random.chance(0.2) };
  }
  return config;
}

/** Records of peers: this node, and two others that have the addresses of other lists now and then. */
export function peers(random: Random): { [key: string]: Value }[] {
  const moved = 2 + random.below(4);
  return [
    { nodeIP: "192.0.2.1", podCIDRs: ["10.1.2.0/24"] },
    { nodeIP: `192.0.2.${moved}`, podCIDRs: ["10.244.2.0/24", "fd44:0:0:2::/64"] },
    { nodeIP: "192.0.2.9", podCIDRs: [`10.244.${5 + random.below(3)}.0/24`] },
  ];
}

export function previous(version: string): { [key: string]: Value } {
  if (version === "0.1.0" || version === "0.2.0")
    return { ip4: { ip: "10.1.2.3/24", gateway: "10.1.2.1", routes: [{ dst: "0.0.0.0/0" }] } };
  return {
    cniVersion: version,
    interfaces: [
      { name: "br0" },
      { name: "veth1", mac: "02:00:00:00:00:03" },
      { name: "eth0", mac: "02:00:00:00:00:04", sandbox: "/run/netns/x" },
    ],
    ips: [{ version: "4", interface: 2, address: "10.1.2.3/24", gateway: "10.1.2.1" }],
    routes: [{ dst: "0.0.0.0/0", gw: "10.1.2.1" }],
    dns: {},
  };
}
