/** Section 1 of the specification: the network configuration. */
import { type Group, may, must, should } from "./rule.ts";

export const CONFIGURATION: readonly Group[] = [
  {
    heading: "1 Network configuration: the configuration",
    rules: [
      must("CONF-1", "author", "a configuration is one JSON object with a version, a name and a list of plugins"),
      must("CONF-2", "plugin", "`cniVersion` is the version of the specification that the configuration follows"),
      may("CONF-3", "author", "`cniVersions` lists further versions that the configuration works with"),
      should("CONF-4", "author", "`name` is the network's, and no other's on the host"),
      must("CONF-5", "plugin", "`name` begins with a letter or digit; letters, digits, `_`, `.` and `-` may follow"),
      must("CONF-6", "runtime", "with `disableCheck` there is no CHECK"),
      must("CONF-7", "runtime", "with `disableGC` there is no GC"),
      must(
        "CONF-8",
        "runtime",
        "unless `loadOnlyInlinedPlugins` is set, plugins from other sources are appended to the list",
      ),
      must("CONF-9", "author", "`loadOnlyInlinedPlugins` is not set where `plugins` is missing"),
    ],
  },
  {
    heading: "1 Network configuration: plugin objects",
    rules: [
      must("PLUG-1", "delegating plugin", "`type` is the name of an executable, without what file names cannot hold"),
      must("PLUG-2", "runtime", "fields it does not know reach the plugin unchanged"),
      may("PLUG-3", "author", "`capabilities` tells what the plugin takes from the runtime"),
      should("PLUG-4", "author", "`runtimeConfig`, `args` and what begins with `cni.dev/` are left to the runtime"),
      should("PLUG-5", "plugin", "who reads `ipMasq` masquerades what leaves the network, on the host"),
      should(
        "PLUG-6",
        "delegating plugin",
        "who reads `ipam` takes `ipam.type` for the executable that gives addresses",
      ),
      should("PLUG-7", "plugin", "who reads `dns` knows `nameservers`, `domain`, `search` and `options`"),
      may("PLUG-8", "plugin", "a plugin has fields of its own, and may refuse what it does not know"),
      must("PLUG-9", "runtime", "unknown fields survive the change of form before execution"),
    ],
  },
  {
    heading: "1 Network configuration: versions",
    rules: [
      must("VERS-1", "runtime", "of the versions that a configuration names it takes the highest that it knows"),
      may("VERS-2", "runtime", "it may ask plugins with VERSION which ones they know"),
      must("VERS-3", "specification", "within a major version old and new configurations understand each other"),
    ],
  },
];
