/** portmap under faults, with iptables. */
import { PORTMAP } from "./subjects.ts";
import { describeFaults } from "./suite.ts";

describeFaults(PORTMAP.iptables);
