"""What people read: tables, leaderboard, comparisons, findings, audit."""
