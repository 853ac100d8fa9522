"""Workers with one defect each, which the checker must find. A check that never fails proves nothing."""
