"""What any commit's command line does with the faults found in the field."""
