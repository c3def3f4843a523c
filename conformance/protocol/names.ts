/** The plugins under test. Nothing here needs a test runner. */
export const PLUGINS = [
  "bandwidth",
  "bridge",
  "firewall",
  "host-local",
  "loopback",
  "portmap",
  "ptp",
  "static",
  "tuning",
  "vxlan-overlay",
] as const;
export type PluginName = (typeof PLUGINS)[number];

/** Those that give addresses: they make no interface. */
export const IPAM: readonly PluginName[] = ["host-local", "static"];
/** Those that remember nothing of an attachment outside of its namespace. */
export const STATELESS: readonly PluginName[] = ["loopback", "static"];
