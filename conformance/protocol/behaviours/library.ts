/** What the reference's tests of its libraries show: the call's frame, types and versions, delegation, what plugins share. */
import { type Area, absent, shown } from "./behaviour.ts";

export const LIBRARY: readonly Area[] = [
  {
    name: "the call",
    behaviours: [
      shown(
        "environment and stdin reach the verb",
        "lib/cni/environment: is read in full",
        "protocol/lifecycle: ADD succeeds with a result on stdout and nothing else",
      ),
      shown(
        "which variables each verb requires",
        "protocol/requests: %s %j: %s",
        "lib/cni/environment: %s requires %j, and all that are missing are reported",
      ),
      shown(
        "all missing variables are told, not the first only",
        "lib/cni/environment: %s requires %j, and all that are missing are reported",
      ),
      shown(
        "wrong container IDs",
        "protocol/requests: %s %j: %s",
        "lib/cni/environment: container IDs and network names: the specification's pattern, at most 200 characters",
      ),
      shown(
        "interface names too long, . and .., with / or : or white space",
        "protocol/requests: %s %j: %s",
        "lib/cni/environment: interface name %j is refused: %s",
      ),
      shown(
        "no cniVersion is 0.1.0",
        "lib/cni/config: no version, an empty and a null one mean 0.1.0; an unknown one is left to later",
        "protocol/requests: carries 0.1.0 where the configuration has none, ours where it cannot be read",
      ),
      shown("CHECK before 0.4.0, GC and STATUS before 1.1.0", "protocol/requests: … does not exist in …"),
      shown(
        "a configuration newer than the plugin",
        "protocol/requests: a version beyond ours is refused for CHECK, GC and STATUS too",
      ),
      shown(
        "a version nobody speaks, and one that is none",
        "protocol/requests: %j is not spoken",
        "protocol/requests: %j cannot be compared: code 6 for CHECK",
      ),
      shown("a wrong network name", "protocol/requests: %j: code %d", "protocol/bad-input: a name that is %s: code 7"),
      shown(
        "VERSION needs no variable and no stdin",
        "protocol/requests: one line, from no other variable, whatever stdin holds",
        "protocol/requests: does not wait for stdin and ignores malformed variables",
      ),
      shown("an unknown command", "protocol/requests: %j is unknown"),
      shown("without a command: what it is, on stderr", "protocol/by-hand: tells on stderr what it is: %j"),
      shown("a stdin that cannot be read", "protocol/signals: stdin: code 5", "protocol/codes: code %d of %s: %s"),
      shown(
        "an error with a code is printed as it is",
        "lib/cni/run: an error of ours stays what it is",
        "protocol/delegation: an error object is handed on as it is, under the configuration's version",
      ),
      shown(
        "any other error gets the library's code",
        "lib/cni/run: anything else is a defect: code 999",
        "lib/cni/run: a system call that fails with %d: code %d",
      ),
      shown(
        "the plugin's own namespace as CNI_NETNS",
        "protocol/namespaces: %s: ADD, CHECK and DEL are refused with one document and nothing done",
        "protocol/namespaces: CNI_NETNS_OVERRIDE=%s allows it",
      ),
    ],
  },
  {
    name: "types, versions and delegates",
    behaviours: [
      shown(
        "results of every version, there and back",
        "lib/cni/result: is read and printed as it was",
        "protocol/lifecycle: the result has the shape of the version",
      ),
      shown(
        "interface index 0 is not the same as none",
        "lib/cni/result: interface index 0 is kept, an absent one stays absent",
      ),
      shown(
        "0.2.0 cannot say that there is no address",
        "protocol/results: bridge without IPAM: an error where the version needs an address, and nothing attached",
      ),
      shown(
        "gateways of routes survive 0.2.0",
        "protocol/results: host-local gives what the reference gives",
        "lib/cni/result: tells what it can of the fullest result",
      ),
      shown(
        "CNI_ARGS: known, unknown, ignored and unreadable keys",
        "lib/cni/args: known keys, exactly as written",
        "lib/cni/args: IgnoreUnknown=%s, wherever it stands",
        "lib/cni/args: %s is refused",
      ),
      shown("what counts as true", "lib/cni/args: IgnoreUnknown=%s, wherever it stands"),
      shown(
        "a prevResult of an unknown version, or of another than the configuration's",
        "protocol/results: %s refuses a prevResult of another group",
        "lib/cni/result: whatever stands in a result, it is a result or an error of code 1 or 7",
      ),
      shown(
        "a delegate is found and started; one that is not there is named",
        "protocol/delegation: not in CNI_PATH",
        "protocol/delegation: empty parts of CNI_PATH and directories of that name are passed over",
      ),
      shown(
        "a delegate's result without version has the configuration's",
        "protocol/delegation: a result %s is taken",
        "lib/cni/result: without cniVersion has the configuration's",
      ),
      shown(
        "a delegate that fails with an error object, with stderr only, in silence",
        "protocol/delegation: an error object is handed on as it is, under the configuration's version",
        "protocol/delegation: %s",
      ),
      shown(
        "names that are paths, and empty ones",
        "protocol/delegation: the name %j is refused",
        "protocol/delegation: a name that is no text",
      ),
      absent(
        "converting a previous result between groups of versions",
        "the reference refuses it too: a chain has one version",
      ),
    ],
  },
  {
    name: "what plugins share",
    behaviours: [
      shown(
        "addresses and routes are put on an interface",
        "bridge-addresses: several of both families",
        "bridge-addresses: through the gateway named, or the first of the family",
      ),
      absent(
        "several routes to one destination as one multipath route",
        "each is a route of its own; the same one twice is one",
      ),
      shown(
        "IPv6 addresses stay while the link goes down",
        "bridge-ipv6: addresses are usable at once, on both sides, without waiting for duplicates to be looked for",
      ),
      shown(
        "the index of an address's interface: none, wrong, out of range",
        "lib/cni/result: %s: code 7 and where it stands",
        "bandwidth: needs a result of a plugin before it, and an interface",
      ),
      shown(
        "names and namespaces of a veth pair",
        "bridge-options: a bridge, a veth pair, an address and the result that tells of them",
        "lib/state/names: are such as the kernel takes, and say whose they are",
      ),
      shown(
        "a name that is taken",
        "bridge-failures: fails and leaves the first attachment as it is",
        "bridge-failures: an interface of somebody else's is not touched",
      ),
      absent(
        "no free name for the host's end is left",
        "names are derived, not drawn: a taken one is somebody else's, code 102",
      ),
      shown(
        "an Ethernet address that is asked for",
        "bridge-addresses: %s comes first",
        "bridge-addresses: %s is refused before anything is done",
      ),
      shown(
        "a link to delete that is not there is no failure",
        "bridge-del: %s, three times in a row",
        "bridge-del: of an attachment that never was",
      ),
      shown(
        "masquerade with nftables: added, added again, removed, GC, to the rule",
        "masquerade-lifecycle: the ruleset holds the pod's addresses with their owner, and CHECK compares them",
        "masquerade-lifecycle: DEL leaves nothing: %s, thrice",
        "masquerade-lifecycle: GC keeps the valid attachments and leaves nothing of the others",
        "lib/filter/ruleset: every rule was tried with nft",
      ),
      shown(
        "the spoof check fails at any step, coming or going",
        "faults/suite: each step of …: …",
        "spoof-check: DEL leaves nothing: %s, thrice",
      ),
      shown(
        "names are hashes that never change",
        "lib/state/names: are for ever",
        "lib/sha512: the digests of the standard's examples",
        "lib/filter/iptables-rules: are the reference's for a container's first interface",
      ),
      absent("sysctl names with dots and with slashes", "there is no option that names a sysctl"),
      shown("namespaces that cannot be opened", "protocol/namespaces: %s: ADD fails with code 8 and leaves nothing"),
      shown(
        "what is there already is not written again",
        "bridge-options: a bridge that is there is used as it is",
        "portmap-flush: a repair with nothing missing changes nothing, and repairs of an empty node neither",
      ),
    ],
  },
];
