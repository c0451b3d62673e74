"""Training of students: data, loops, measurement, export."""
