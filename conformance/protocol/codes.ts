/** Every error code that can occur, and how it is provoked for each plugin: `codes.test.ts` does it, ../COVERAGE.md tells. */
import { PLUGINS, type PluginName } from "./names.ts";

/** How a code comes about: what a test does. */
export const WAYS = {
  version: "a version nobody speaks",
  variables: "no interface name",
  unreadable: "a stdin that cannot be read",
  cut: "a configuration cut off",
  nameless: "a configuration without name",
  itsOwn: "its own namespace as CNI_NETNS",
  noNamespace: "a CNI_NETNS that is no namespace",
  stopped: "SIGTERM",
  noDelegate: "STATUS, and the delegate is not installed",
  exhausted: "STATUS, and no address is left, with `statusFailsWhenExhausted`",
  powerless: "STATUS without the right to change the network",
  noUnderlay: "STATUS, and the host lacks the underlay's address",
  badList: "STATUS, and the list of allowed sysctls has no patterns",
  forbidden: "ADD without the right to change the network",
  spoilt: "CHECK, and somebody removed what ADD made",
  changed: "CHECK, and the configuration has another address than at ADD",
  taken: "ADD, and somebody else's is in the way",
  full: "ADD, and no address is left",
  missing: "ADD, and the delegate is not installed",
  crashed: "SIGSEGV",
} as const;

export type Way = keyof typeof WAYS;

/** A code, what it means, and the way it comes about: for all plugins, or for each that can give it. */
export interface Code {
  readonly code: number;
  readonly meaning: string;
  readonly ways: Way | Partial<Record<PluginName, Way>>;
  /** Why the plugins that are not named cannot give it. */
  readonly others?: string;
}

export const CODES: readonly Code[] = [
  { code: 1, meaning: "incompatible version", ways: "version" },
  { code: 4, meaning: "variables", ways: "variables" },
  { code: 5, meaning: "input or output", ways: "unreadable" },
  { code: 6, meaning: "no JSON", ways: "cut" },
  { code: 7, meaning: "configuration", ways: "nameless" },
  {
    code: 8,
    meaning: "namespace",
    ways: {
      bandwidth: "itsOwn",
      bridge: "noNamespace",
      firewall: "itsOwn",
      "host-local": "itsOwn",
      loopback: "noNamespace",
      portmap: "itsOwn",
      ptp: "noNamespace",
      static: "itsOwn",
      tuning: "noNamespace",
      "vxlan-overlay": "noNamespace",
    },
  },
  { code: 11, meaning: "try again later", ways: "stopped" },
  {
    code: 50,
    meaning: "STATUS: not available",
    ways: {
      bandwidth: "powerless",
      bridge: "noDelegate",
      firewall: "powerless",
      "host-local": "exhausted",
      portmap: "powerless",
      ptp: "noDelegate",
      tuning: "badList",
      "vxlan-overlay": "noUnderlay",
    },
    others: "loopback and static need nothing that could be missing",
  },
  {
    code: 100,
    meaning: "refused by the kernel",
    ways: {
      bandwidth: "forbidden",
      bridge: "forbidden",
      firewall: "forbidden",
      loopback: "forbidden",
      portmap: "forbidden",
      ptp: "forbidden",
      tuning: "forbidden",
      "vxlan-overlay": "forbidden",
    },
    others: "host-local changes files only, whose failures are code 5; static changes nothing",
  },
  {
    code: 101,
    meaning: "CHECK found a difference",
    ways: {
      bandwidth: "spoilt",
      bridge: "spoilt",
      firewall: "spoilt",
      "host-local": "spoilt",
      loopback: "spoilt",
      portmap: "spoilt",
      ptp: "spoilt",
      static: "changed",
      tuning: "spoilt",
      "vxlan-overlay": "spoilt",
    },
  },
  {
    code: 102,
    meaning: "somebody else's is in the way",
    ways: {
      bandwidth: "taken",
      bridge: "taken",
      "host-local": "taken",
      loopback: "taken",
      portmap: "taken",
      ptp: "taken",
      tuning: "taken",
      "vxlan-overlay": "taken",
    },
    others: "firewall takes an address from the pod that had it before, static does not know what others have",
  },
  {
    code: 103,
    meaning: "no address left",
    ways: { bridge: "full", "host-local": "full", ptp: "full", "vxlan-overlay": "full" },
    others: "the others ask for no addresses, and static has them",
  },
  {
    code: 104,
    meaning: "a delegate failed",
    ways: { bridge: "missing", ptp: "missing", "vxlan-overlay": "missing" },
    others: "the others call no delegate",
  },
  { code: 999, meaning: "a defect", ways: "crashed" },
];

/** How a plugin is brought to give a code; null if it never does. */
export function wayOf(code: Code, plugin: PluginName): Way | null {
  return typeof code.ways === "string" ? code.ways : (code.ways[plugin] ?? null);
}

/** Every code with every plugin that can give it. */
export function provocations(): { code: number; plugin: PluginName; way: Way }[] {
  return CODES.flatMap((code) =>
    PLUGINS.flatMap((plugin) => {
      const way = wayOf(code, plugin);
      return way === null ? [] : [{ code: code.code, plugin, way }];
    }),
  );
}
