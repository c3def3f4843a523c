/** Section 5 of the specification: what plugins print; and where versions before 1.0.0 said something else. */
import { type Group, may, must, should } from "./rule.ts";

const FROM_ENVIRONMENT =
  "it is ours, 1.1.0, as the reference prints: stdin is not read, so that VERSION never waits for a runtime that sends nothing";

export const RESULTS: readonly Group[] = [
  {
    heading: "5 Results: success",
    rules: [
      must("RESULT-1", "plugin", "who got a `prevResult` prints it, with its own changes in it", {
        differs: "not who begins a chain: see ADD-3",
      }),
      must("RESULT-2", "plugin", "who changed nothing that a result tells prints what is equal to `prevResult`"),
      must("RESULT-3", "plugin", "`cniVersion` is the configuration's"),
      must(
        "RESULT-4",
        "plugin",
        "`interfaces` has every interface made, the host's too: name, mac, mtu, socketPath, pciID",
      ),
      must("RESULT-5", "plugin", "`sandbox` is CNI_NETNS for interfaces in the container, and empty for the host's"),
      must(
        "RESULT-6",
        "plugin",
        "`ips` has address with prefix length, gateway if there is one, and the interface's index",
      ),
      must("RESULT-7", "plugin", "`routes` has dst, gw, mtu, advmss, priority, table, scope"),
      must("RESULT-8", "plugin", "`dns` has nameservers, domain, search, options"),
      may("IPAM-1", "IPAM plugin", "leaves out what is not its matter"),
      must("IPAM-2", "IPAM plugin", "has neither `interfaces` nor the index of one"),
    ],
  },
  {
    heading: "5 Results: errors",
    rules: [
      should("ERROR-1", "plugin", "an error is an object with cniVersion, code, msg, and details if there are any"),
      must("ERROR-2", "plugin", "its `cniVersion` is the configuration's"),
      must("ERROR-3", "plugin", "codes below 100 mean what the specification says, plugins' own begin at 100", {
        differs: "code 8, no usable namespace, is the reference library's and not in the specification's table",
      }),
      must("CODE-1", "plugin", "1: a version that the plugin does not speak"),
      must("CODE-2", "plugin", "2: a field that is not supported; the message holds key and value", {
        untested: "never given: unknown fields are passed over, wrong values are code 7 with the field's path",
      }),
      may("CODE-3", "plugin", "3: an unknown container, so that no DEL is needed", {
        untested: "never given: DEL of an unknown container succeeds, and CHECK of one is code 101",
      }),
      must("CODE-4", "plugin", "4: variables that are missing or wrong; the message names them", {
        differs: "wrong ones are named in `details`: `msg` is word for word the reference's, which says what is wrong",
      }),
      must("CODE-5", "plugin", "5: input or output failed, reading stdin for one"),
      must("CODE-6", "plugin", "6: what was read cannot be decoded"),
      must("CODE-7", "plugin", "7: the configuration is not valid"),
      should("CODE-11", "plugin", "11: another try may succeed"),
      may("ERROR-4", "plugin", "stderr may hold anything else, as a log"),
    ],
  },
  {
    heading: "5 Results: version",
    rules: [
      must("PROBE-4", "plugin", "a version object has `supportedVersions`"),
      must("PROBE-5", "plugin", "its `cniVersion` is the one on stdin", { differs: FROM_ENVIRONMENT }),
    ],
  },
  {
    heading: "Before 1.0.0, where that was different",
    rules: [
      must("OLD-1", "plugin", "0.1.0, 0.2.0: `ip4` and `ip6` with ip, gateway and routes, and `dns`"),
      must("OLD-2", "plugin", "0.3.0 to 0.4.0: each of `ips` has its `version`, and addresses are of it"),
      must(
        "OLD-3",
        "plugin",
        "0.3.0 to 0.4.0: an interface has its mac where there is one, and its sandbox in a container",
      ),
      must("OLD-4", "plugin", "from 0.3.0: a plugin knows `prevResult`"),
      must("OLD-5", "plugin", "from 0.4.0: CHECK; from 1.1.0: STATUS and GC; before, they do not exist"),
      should("OLD-6", "plugin", "up to 0.4.0: what a plugin stores has network, container and interface as its key"),
      must(
        "OLD-7",
        "plugin",
        "0.4.0: an interface's name has 1 to 15 bytes, is not . or .., and has no / or : or white space",
      ),
      should("OLD-8", "plugin", "up to 0.4.0: `args` that nobody understands are ignored"),
      should("OLD-9", "plugin", "up to 0.4.0: `gateway` makes no route by itself"),
      should("OLD-10", "plugin", "up to 0.4.0: routes have metric 0"),
      should(
        "OLD-11",
        "plugin",
        "up to 0.4.0: a default route of another network may be there, and one's own be left out",
        { differs: "ours is added before it, as the reference does; ADD does not fail, and DEL leaves the other one" },
      ),
      should("OLD-12", "plugin", "up to 0.4.0: the addresses and `dns` of IPAM's result are the plugin's"),
      must("OLD-13", "plugin", "0.3.0 on: all addresses of a route are of one IP version"),
      must("OLD-14", "plugin", "0.3.0 on: the routes of a result are of the interface CNI_IFNAME"),
      should("OLD-15", "plugin", "a route without gateway goes by the one that the plugin takes for the default"),
    ],
  },
];
