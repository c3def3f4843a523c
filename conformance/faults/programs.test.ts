/** What the programs of iptables do to plugins that start them, when they or the plugin are killed, or they fail. */
import { PROGRAM_FAULTS } from "./programs.ts";
import { BRIDGE, COLD_BRIDGE, COLD_FIREWALL, COLD_PORTMAP, PORTMAP } from "./subjects.ts";
import { describeFaults } from "./suite.ts";

for (const { iptables } of [BRIDGE, PORTMAP, COLD_BRIDGE, COLD_PORTMAP]) {
  describeFaults({ ...iptables, name: iptables.name.replace("(iptables)", "(iptables programs)") }, PROGRAM_FAULTS);
}

/* On any other node the kernel tells that nothing is missing: no program is started. */
describeFaults({ ...COLD_FIREWALL, name: "firewall (iptables programs), cold node" }, PROGRAM_FAULTS);
