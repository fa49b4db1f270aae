"""The four master databases: population, resources, EMR, EHR."""
