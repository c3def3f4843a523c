/** firewall under faults, with isolated pods; also for the first pod of a node: tables, rules of iptables and a policy are made. */
import { COLD_FIREWALL, FIREWALL } from "./subjects.ts";
import { describeFaults } from "./suite.ts";

for (const subject of [FIREWALL, COLD_FIREWALL]) describeFaults(subject);
