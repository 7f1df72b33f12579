"""What came out: tables, pictures, advice, report, the winner."""
