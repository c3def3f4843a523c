/** Section 2 of the specification, but for CHECK, STATUS and GC: how a plugin is called. */
import { type Group, may, must, should } from "./rule.ts";

const FIRST =
  "bridge, vxlan-overlay that delegates, and host-local begin a chain: they print what they made, as the reference does";
const PATH =
  "an empty or missing CNI_PATH is refused (code 4), as the reference's library does: runtimes always set it";

export const REQUESTS: readonly Group[] = [
  {
    heading: "2 Execution: parameters and exit status",
    rules: [
      must("EXEC-1", "runtime", "plugins run in the runtime's own namespace"),
      must(
        "EXEC-2",
        "plugin",
        "parameters come in the environment, the configuration on stdin, the result goes to stdout",
      ),
      must("PARAM-1", "plugin", "`CNI_COMMAND` names the operation: ADD, DEL, CHECK, STATUS, GC, VERSION"),
      must(
        "PARAM-2",
        "plugin",
        "`CNI_CONTAINERID` is not empty, begins with a letter or digit, and goes on like a name",
      ),
      must("PARAM-3", "plugin", "`CNI_NETNS` leads to the container's namespace"),
      must("PARAM-4", "plugin", "a `CNI_IFNAME` that the plugin cannot use is an error"),
      may("PARAM-5", "plugin", "`CNI_ARGS` holds pairs of key and value, with `;` between them"),
      may("PARAM-6", "plugin", "`CNI_PATH` lists the directories of plugins, with `:` between them"),
      must("EXIT-1", "plugin", "exit status 0 is success, everything else failure"),
      should("EXIT-2", "plugin", "a failure prints an error object"),
    ],
  },
  {
    heading: "2 Execution: ADD",
    rules: [
      should("ADD-1", "plugin", "makes the interface `CNI_IFNAME` in `CNI_NETNS`, or changes the one there"),
      must("ADD-2", "plugin", "prints a result if it succeeds"),
      must("ADD-3", "plugin", "hands `prevResult` on, as it is or changed", { differs: FIRST }),
      must("ADD-4", "plugin", "fails if the container has an interface of that name already (plugins that make one)"),
      should("ADD-5", "runtime", "is not called twice for one container and interface without a DEL between"),
      must("ADD-6", "plugin", "needs CNI_COMMAND, CNI_CONTAINERID, CNI_NETNS and CNI_IFNAME"),
      may("ADD-7", "plugin", "works without CNI_ARGS and CNI_PATH", { differs: PATH }),
    ],
  },
  {
    heading: "2 Execution: DEL",
    rules: [
      should("DEL-1", "plugin", "removes the interface, or undoes what ADD changed"),
      should("DEL-2", "plugin", "succeeds though something of it is gone already"),
      should("DEL-3", "IPAM plugin", "gives addresses back though the namespace is gone"),
      should(
        "DEL-4",
        "delegating plugin",
        "calls the delegate and cleans up its own though namespace or interface are gone",
      ),
      must("DEL-5", "plugin", "may be called again and again for one container and interface, and succeeds"),
      must("DEL-6", "plugin", "needs CNI_COMMAND, CNI_CONTAINERID and CNI_IFNAME"),
      may("DEL-7", "plugin", "works without CNI_NETNS, CNI_ARGS and CNI_PATH", { differs: PATH }),
      should("DEL-8", "plugin", "without CNI_NETNS or `prevResult` removes what it can, and succeeds"),
    ],
  },
  {
    heading: "2 Execution: VERSION",
    rules: [
      must("PROBE-1", "plugin", "VERSION prints a version object"),
      must("PROBE-2", "runtime", "VERSION gets an object with `cniVersion` on stdin"),
      must("PROBE-3", "plugin", "VERSION needs CNI_COMMAND only"),
    ],
  },
];
