/** bridge under faults, with iptables. */
import { BRIDGE } from "./subjects.ts";
import { describeFaults } from "./suite.ts";

describeFaults(BRIDGE.iptables);
