/** The plugins under test. Nothing here needs a test runner. */
export const PLUGINS = ["bandwidth", "bridge", "host-local", "loopback", "portmap", "tuning", "vxlan-overlay"] as const;
export type PluginName = (typeof PLUGINS)[number];
