/** What the reference's tests of its plugins show, and what it lacks tests for. */
import { type Area, shown } from "./behaviour.ts";

export const PLUGIN_BEHAVIOURS: readonly Area[] = [
  {
    name: "bridge",
    behaviours: [
      shown("vlanTrunk: what it may hold, and what not", "bridge/config: %s", "bridge/config: %j"),
      shown("vlan out of range", "bridge/config: %j", "protocol/bad-input: bridge %s: code 7 and its name"),
      shown(
        "makes the bridge, or takes the one that is there",
        "bridge-options: a bridge, a veth pair, an address and the result that tells of them",
        "bridge-options: a bridge that is there is used as it is",
      ),
      shown(
        "ADD, CHECK and DEL with a default route, IPv4, IPv6 and both",
        "bridge-options: adds a default route for each family and implies isGateway",
        "protocol/lifecycle: DEL undoes it, and may be called again",
      ),
      shown("without addresses", "bridge-addresses: %s: a port on the bridge and no more"),
      shown(
        "vlan, vlanTrunk, both, without the default VLAN, with a default route",
        "bridge-vlan: %s",
        "bridge-vlan: the gateway of a VLAN is a link of its own, made once, and CHECK knows it",
        "bridge/plan: the gateway's address is on a link of the VLAN's own",
      ),
      shown("DEL of what was never added", "bridge-del: of an attachment that never was"),
      shown(
        "the gateway's address on the bridge: IPv4, overlapping and other IPv6, forceAddress",
        "bridge-options: without it another address on the bridge is an error that says what was found",
        "bridge-options: with it the other address goes",
        "bridge-options: IPv6: only an overlapping subnet is in the way",
        "bridge-networks: the next ADD puts the new gateways in the place of the old ones",
        "bridge-networks: with forceAddress the old IPv6 gateway goes, too",
      ),
      shown("promiscMode", "bridge-options: promiscMode makes the bridge promiscuous; without it, it is not"),
      shown(
        "the bridge's Ethernet address stays",
        "bridge-addresses: the bridge's does not change with the ports that come and go",
        "bridge-networks: does not change when ports come and go",
      ),
      shown(
        "the container's Ethernet address from CNI_ARGS, args and runtimeConfig",
        "bridge-addresses: %s comes first",
        "bridge/config: %j and CNI_ARGS %j",
      ),
      shown("an ADD that fails gives its address back", "bridge-failures: %s"),
      shown(
        "ipMasq with each backend",
        "masquerade-traffic: what leaves the pod network has the node's address, the rest the pod's; bridge-nf %s",
        "masquerade-traffic: no backend given: nftables, in a table of our own",
      ),
      shown("macspoofchk", "spoof-check: frames with a foreign source MAC are dropped, those with the own one pass"),
      shown(
        "disableContainerInterface, and not with IPAM",
        "bridge-options: leaves the container's end down, and CHECK agrees",
        "bridge-options: with IPAM is refused before anything is done",
      ),
      shown("portIsolation on and off", "bridge-options: portIsolation: pods do not reach each other, but the gateway"),
    ],
  },
  {
    name: "host-local",
    behaviours: [
      shown(
        "ADD gives, DEL takes back",
        "plugins/host-local: gives an address, its gateway and the routes at CNI %s",
        "protocol/lifecycle: DEL undoes it, and may be called again",
      ),
      shown(
        "the same for a second interface of the container",
        "protocol/rules: eight containers at once come and go without disturbing each other",
        "protocol/lifecycle: two attachments of one container live and die alone",
      ),
      shown(
        "a second ADD of one container is refused",
        "plugins/host-local: returns the same addresses if the interface is gone, and is an error if it exists",
      ),
      shown(
        "leases of before interfaces were named",
        "host-local-disk: removes leases that name only the container, as before CNI 0.7",
      ),
      shown(
        "DEL of what nobody knows",
        "host-local-verbs: removes only what the attachment holds, and succeeds for an unknown one",
      ),
      shown(
        "white space in files",
        "host-local/leases: have the format of the reference plugin",
        "host-local/leases: %j names no owner",
      ),
      shown(
        "the first use of a network says nothing on stderr",
        "protocol/lifecycle: ADD succeeds with a result on stdout and nothing else",
      ),
      shown(
        "addresses asked for: by args, of several ranges, of both families, one that is unused",
        "plugins/host-local: come from all three sources, with or without prefix length, each for the set that holds it",
        "plugins/host-local: that no set holds are refused before anything is allocated",
      ),
      shown(
        "the walk from the beginning, the end, the middle",
        "host-local/ring: passes once through all addresses except gateways, from the one after the last",
        "lib/ip/range: meets every address once and ends where it began",
      ),
      shown("round robin", "plugins/host-local: reuses an address only after all others were allocated"),
      shown(
        "no broadcast address",
        "plugins/host-local: never allocates the network or broadcast address, even if the range includes it",
      ),
      shown(
        "asked for: fine, taken, after the end, before the start",
        "plugins/host-local: that are the gateway, taken, or no addresses are refused",
        "plugins/host-local: that no set holds are refused before anything is allocated",
      ),
      shown(
        "exhaustion says of what",
        "host-local-verbs: warns that a range set is exhausted, with the counts",
        "protocol/codes: code %d of %s: %s",
      ),
      shown(
        "the last address given, at the end of a range, or unknown",
        "plugins/host-local: continues from one range of a set to the next, each with its own gateway",
        "lib/ip/range: begins anew from an address outside",
      ),
      shown(
        "the configuration's older and newer forms, with what the runtime adds",
        "plugins/host-local: takes the keys of all forms, the runtime's first, each set giving one address",
        "host-local/config: are in the order ipRanges, keys directly under ipam, ranges",
      ),
      shown(
        "CNI_ARGS and args, with and without prefix length",
        "plugins/host-local: come from all three sources, with or without prefix length, each for the set that holds it",
      ),
      shown("ranges that overlap, in a set and between sets", "plugins/host-local: %s"),
      shown(
        "mixed IP versions, and what 0.2.0 cannot say",
        "plugins/host-local: %s",
        "plugins/host-local: two sets of one family at CNI %s",
      ),
      shown(
        "a range's defaults, limits and errors",
        "host-local/config: default to all of the network except the network and broadcast addresses",
        "host-local/config: stay within any network, as ipaddr.js computes it",
        "plugins/host-local: %s",
      ),
      shown(
        "what a range holds, and which meet",
        "lib/ip/range: an address is held by the span whose bounds surround it, as ipaddr.js orders them",
        "lib/ip/range: spans meet where they share an address",
      ),
      shown("the lock", "host-local-disk: is waited for", "host-local-disk: shares its lock"),
      shown(
        "resolv.conf",
        "host-local/resolv-conf: reads what resolv.conf(5) says",
        "plugins/host-local: reads DNS from a resolv.conf, and allocates nothing if it cannot",
      ),
    ],
  },
  {
    name: "portmap",
    behaviours: [
      shown(
        "configurations of ADD and DEL, and wrong mappings",
        "portmap/config: are read with everything that may be left out",
        "portmap/config: %j is refused with its index",
        "portmap-options: mapping: %s",
      ),
      shown(
        "the backend: none named, nftables, by its conditions, options of the other one",
        "portmap-options: no backend given: nftables",
        "portmap/config: %s",
        "portmap/config: %j is refused",
      ),
      shown(
        "a previous result without an interface's index",
        "lib/cni/result: interface index 0 is kept, an absent one stays absent",
        "portmap-options: no previous result",
      ),
      shown(
        "iptables: the container's chain, marks, somebody else's chain for marking, what leads there",
        "lib/filter/iptables-rules: mark the pod itself and 127.0.0.1, then translate",
        "lib/filter/iptables-rules: use somebody else's chain for marking instead of ours",
        "lib/filter/iptables-rules: are led to by 15 a rule, with the conditions, at the end or the beginning",
        "portmap-options: externalSetMarkChain marks instead of a chain of ours",
      ),
      shown(
        "chains made and removed, once and again, at once",
        "portmap-parallel: … ADDs at once, then … DELs at once, leave exactly the right ruleset",
        "portmap-lifecycle: of the same container with the same ports changes nothing",
        "portmap-lifecycle: %s, thrice",
      ),
      shown("nftables: IPv4, IPv6, host addresses, 0.0.0.0 and ::", "portmap-truth: $name", "portmap/config: %s"),
      shown(
        "CHECK: missing, with and without snat, after DEL",
        "portmap-lifecycle: names the mapping that is missing",
        "portmap-lifecycle: finds the loss of everything",
        "portmap-lifecycle: fails for a pod that was never added",
        "portmap-options: masqAll: the pod sees everybody as the node, and CHECK and DEL know of it",
      ),
      shown("masqAll", "portmap-options: masqAll: the pod sees everybody as the node, and CHECK and DEL know of it"),
      shown("TCP arrives: from outside, from the pod itself, from 127.0.0.1", "portmap-truth: $name"),
      shown(
        "UDP goes on when another container takes the port over",
        "portmap-conntrack: after the pod was replaced it reaches the new one",
      ),
    ],
  },
  {
    name: "bandwidth",
    behaviours: [
      shown(
        "both directions: queues, the ifb, the filter",
        "plugins/bandwidth: limits both directions, tells the ifb, and names its owner",
      ),
      shown("one direction only", "plugins/bandwidth: limits one direction only"),
      shown("wrong limits", "bandwidth/config: %j are refused"),
      shown(
        "the runtime's limits, and the configuration's before them",
        "bandwidth/config: are read from the runtime's, unless the configuration has one of its own, and be it 0",
      ),
      shown("DEL at 0.3.0", "protocol/lifecycle: DEL undoes it, and may be called again"),
      shown(
        "several links of the host",
        "plugins/bandwidth: is the right one of several that a result lists",
        "foreign-links: %s: bandwidth neither sets nor takes away limits of a neighbour",
      ),
      shown(
        "no peer, no interfaces in the previous result, a peer that it does not list",
        "plugins/bandwidth: that is no veth is refused, or shaped inside the container if that is asked for",
        "plugins/bandwidth: needs a result of a plugin before it, and an interface",
        "plugins/bandwidth: is found though no other plugin lists its host's end",
      ),
      shown(
        "traffic is limited",
        "bandwidth-traffic: of %d Mbit/s is held after the first second, and that has the burst besides",
      ),
      shown(
        "bursts up to 4 GB, and rates with and without one",
        "plugins/bandwidth: takes rates from 8 kbit/s to 400 Gbit/s and bursts of any size",
        "bandwidth/config: without a burst leave it to us",
      ),
      shown(
        "of several interfaces the right one is limited",
        "plugins/bandwidth: is the right one of two attachments, each with limits of its own",
      ),
    ],
  },
  {
    name: "tuning",
    behaviours: [
      shown(
        "the previous result is handed on, with the new MAC",
        "plugins/tuning: %s: the result is that of before, with the MAC and the MTU of the interface",
      ),
      shown(
        "promisc, mtu, txQLen, allmulti, mac: of the configuration and of the arguments, and DEL restores them",
        "plugins/tuning: sets %s, of the configuration and of args.cni, and nothing else",
      ),
      shown(
        "the MAC of args, of CNI_ARGS, of the runtime",
        "plugins/tuning: takes the MAC of args.cni before runtimeConfig, CNI_ARGS and the configuration",
        "tuning/config: the MAC is that of args.cni, then runtimeConfig, CNI_ARGS, the configuration",
      ),
      shown("a sysctl that is there twice", "plugins/tuning: a key that is there twice"),
      shown(
        "an interface name with a slash",
        "plugins/tuning: a call without a previous result, and one for a link that is not there",
      ),
      shown(
        "the list of allowed sysctls",
        "plugins/tuning: allows what one of its lines matches as it is written",
        "tuning/allow-list: a list allows what one of its lines matches, as it is written in the configuration",
      ),
    ],
  },
  {
    name: "firewall",
    behaviours: [
      shown(
        "ADD, CHECK and DEL of every version, repeated DELs",
        "protocol/lifecycle: CHECK right after ADD is content and says nothing",
        "protocol/lifecycle: DEL undoes it, and may be called again",
      ),
      shown("CHECK misses rules that are gone", "protocol/lifecycle: CHECK misses what is not there any more"),
      shown(
        "the previous result is handed on",
        "protocol/lifecycle: the previous result is handed on with what the plugin adds",
      ),
      shown(
        "a policy for an interface that is not the bridge's",
        "protocol/bad-input: firewall with a policy, behind an interface %s: code 7, and nothing is filtered",
      ),
      shown(
        "policies of a bridge, one after another",
        "plugins/explain: the first pod behind a firewall: its tables, the rules of iptables and the policy are made as well",
      ),
    ],
  },
  {
    name: "loopback",
    behaviours: [
      shown(
        "lo is up after ADD and down after DEL",
        "plugins/loopback: ADD brings lo up and reports it in the version's shape; DEL brings it down",
      ),
    ],
  },
  {
    name: "ptp",
    behaviours: [
      shown(
        "ADD and DEL, with routes, of both families",
        "plugins/ptp: both ends, both families: what is on the links and in the tables",
        "ptp-lifecycle: %s, three times in a row",
      ),
      shown(
        "masquerade with iptables and with nftables",
        "ptp-traffic: the world with the node's address: ipMasq with %s, and DEL takes it away",
      ),
      shown("DEL of nothing", "ptp-lifecycle: %s, three times in a row"),
      shown(
        "DNS of the configuration and of IPAM: none, some, an empty list",
        "bridge-options: IPAM's goes into the result",
        "bridge-options: the configuration's replaces it wholesale: %s",
        "bridge-options: an empty object replaces nothing",
        "plugins/ptp: mtu is that of both ends, and the configuration's dns replaces IPAM's",
      ),
    ],
  },
  {
    name: "static",
    behaviours: [
      shown(
        "ADD and DEL",
        "plugins/static: %s: the pod has the addresses, the result DNS and routes; all goes again",
        "plugins/static: DEL and GC succeed with whatever is configured by now; STATUS does not",
      ),
      shown(
        "DEL of what is not known",
        "plugins/static: DEL and GC succeed with whatever is configured by now; STATUS does not",
      ),
      shown(
        "addresses from CNI_ARGS, one and many, from args, from runtimeConfig, from all of them",
        "plugins/static: %s: as the reference",
        "static/config: with those of CNI_ARGS behind them",
        "static/config: or those of args.cni, or rather those of runtimeConfig, instead of all others",
      ),
      shown(
        "no ipam, with args and with runtimeConfig",
        "plugins/static: %s: as the reference",
        "static/config: %j, CNI_ARGS %j",
      ),
      shown(
        "no prefix length, from four places",
        "plugins/static: %s: as the reference",
        "static/config: %j, CNI_ARGS %j",
      ),
    ],
  },
  {
    name: "and what it has no tests for",
    behaviours: [
      shown(
        "DEL with the namespace gone leaves no rule",
        "masquerade-lifecycle: DEL leaves nothing: %s, thrice",
        "spoof-check: DEL leaves nothing: %s, thrice",
        "portmap-lifecycle: %s, thrice",
        "protocol/lifecycle: DEL needs neither namespace nor previous result",
      ),
      shown("an ADD that fails anywhere can be repeated", "bridge-failures: %s", "faults/suite: each step of …: …"),
      shown(
        "GC and STATUS",
        "protocol/lifecycle: GC takes what is not in its list, and only that",
        "protocol/codes: code %d of %s: %s",
        "bridge-del: %s: removes what is not in the list",
        "portmap-lifecycle: keeps the valid attachments and other networks, and removes the rest",
      ),
      shown(
        "50 pods and more at once",
        "bridge-parallel: first ADDs make one bridge, one gateway, and an address each; DELs remove it all",
        "portmap-parallel: … ADDs at once, then … DELs at once, leave exactly the right ruleset",
        "masquerade-lifecycle: 50 ADDs and DELs at once leave exactly the right ruleset",
        "host-local-disk: allocates 100 addresses to 100 containers at once, ten times",
      ),
      shown(
        "a crash between making a lease and writing it",
        "host-local-faults: ADD loses no lease and blocks none",
        "host-local-faults: a lease file that is %s does not block its address",
      ),
      shown(
        "two attachments of one container to one network",
        "protocol/lifecycle: two attachments of one container live and die alone",
        "bridge-options: two attachments of one container",
        "portmap-lifecycle: in one network",
      ),
      shown(
        "the bursts that container runtimes send",
        "bandwidth-traffic: is not exceeded with the burst that runtimes send, where seconds at full speed would be",
        "cri/pods: connected, limited, published, gone",
      ),
      shown(
        "DEL after the configuration has changed",
        "host-local-verbs: needs no ranges: they may be %s",
        "bridge/config: DEL and GC need no more of a configuration than the name of its IPAM plugin",
        "plugins/bandwidth: needs neither namespace nor previous result nor a configuration that is right",
      ),
      shown(
        "two pods want one host port",
        "portmap-conflicts: twenty pods want one port at once: one gets it",
        "protocol/codes: code %d of %s: %s",
      ),
    ],
  },
];
