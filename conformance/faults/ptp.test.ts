/** ptp under faults, on a node with pods and on one without. */
import { COLD_PTP, PTP } from "./subjects.ts";
import { describeFaults } from "./suite.ts";

describeFaults(PTP.nftables);
describeFaults(PTP.iptables);
describeFaults(COLD_PTP.nftables);
